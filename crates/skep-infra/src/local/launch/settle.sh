# In the machine's cgroup namespace, whose root is the cgroup that was entered. Arguments as inside.sh.
#
# In version 2 a group with children that are limited holds no processes, so the machine's programs are in a leaf.
set -eu
unset settle
cgroup=$1
for root; do
    if [ "$root" = -- ]; then break; fi
    if [ "$root" != "$cgroup" ]; then echo 0 >"$root/$cgroup/system/cgroup.procs"; fi
done
exec unshare --mount --propagation slave --pid --fork --uts --ipc --mount-proc sh -c "$inside" skep-machine "$@"
