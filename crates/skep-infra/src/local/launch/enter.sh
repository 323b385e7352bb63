# Runs on the host. Arguments: network namespace, then as inside.sh, whose text is $inside; $settle is that of settle.sh.
set -eu
umask 022
netns=$1
shift
cgroup=$1
for root; do
    if [ "$root" = -- ]; then break; fi
    # The first one is the machine's cgroup itself.
    if [ "$root" != "$cgroup" ]; then echo 0 >"$root/$cgroup/cgroup.procs"; fi # 0 is the process that writes
done
# Descriptors that our parent was given and did not close are not for the machine: whoever waits for the other end of such a
# pipe would wait as long as the machine runs.
for fd in /proc/$$/fd/*; do
    fd=${fd##*/}
    case $fd in
    [012]) ;;
    *) if (eval "exec $fd>&-") 2>/dev/null; then eval "exec $fd>&-"; fi ;;
    esac
done
echo entered
# Whoever started this writes down which process it is before the machine begins. If that process is killed, this ends.
read -r go
[ "$go" = go ]
exec nsenter --net="$netns" unshare --cgroup sh -c "$settle" skep-machine "$@" </dev/null
