# The first process of a machine, before it becomes the agent. Arguments: the machine's cgroup, where hierarchies of cgroups
# are mounted, "--", host name, machine's directory, skep program, directories of kubernetes, containerd and cni programs.
#
# A machine has a /run, /tmp, /var/lib, /var/log and /dev/shm of its own. All are gathered in one place before anything of the
# host's is hidden, because what is shown may lie where something is hidden. No mount may note itself in /run/mount (-n).
set -eu
unset inside
cgroup=$1 hierarchies=0
shift
run=/dev/shm
mount -n -t tmpfs -o mode=0755,nosuid,nodev skep-run $run
# A kubelet takes the root of what it sees for the node: that is the machine's cgroup, not the host's.
while [ "$1" != -- ]; do
    hierarchies=$((hierarchies + 1))
    mkdir -p $run/cgroup/$hierarchies
    mount -n --bind "$1/$cgroup" $run/cgroup/$hierarchies
    eval "at$hierarchies=\$1"
    shift
done
shift
name=$1 dir=$2 skep=$3 kubernetes=$4 containerd=$5 cni=$6
echo "$name" >/proc/sys/kernel/hostname

mkdir -p $run/skep/config $run/skep/bin $run/skep/kubernetes $run/skep/containerd $run/skep/cni
: >$run/skep/bin/skep
mount -n --bind "$dir/config" $run/skep/config
mount -n --bind "$skep" $run/skep/bin/skep
mount -n --bind "$kubernetes" $run/skep/kubernetes
mount -n --bind "$containerd" $run/skep/containerd
mount -n --bind "$cni" $run/skep/cni
for own in tmp var/lib var/log; do
    mkdir -p $run/own/$own
    mount -n --bind "$dir/own/$own" $run/own/$own
done
# What is hidden is taken away: a kubelet that asks for a directory's disk looks at that disk's first mount, and must find it.
mounts=$(cat /proc/self/mountinfo)
printf '%s\n' "$mounts" | while read -r _ _ _ _ at _; do
    case $at in
    # Blanks are octal numbers in this list. Of mounts in one that has gone nothing is left.
    /run/* | /tmp/* | /var/lib/* | /var/log/*) umount -n -l "$(printf %b "$at")" 2>/dev/null || : ;;
    esac
done
unset mounts
mount -n --move $run /run
for own in tmp var/lib var/log; do
    mount -n --move /run/own/$own /$own
done
while [ $hierarchies -gt 0 ]; do
    eval "at=\$at$hierarchies"
    umount -n -l "$at"
    mount -n --move /run/cgroup/$hierarchies "$at"
    hierarchies=$((hierarchies - 1))
done
rm -r /run/own /run/cgroup
mkdir /run/lock
mount -n -t tmpfs -o mode=1777,nosuid,nodev skep-shm /dev/shm
# What is mounted from here on reaches the machine's containers, and never the host.
mount -n --make-rshared /

# Pods are other networks behind this one; there is no second way that a reply could take.
set_net() {
    if [ -e "/proc/sys/net/$1" ]; then echo "$2" >"/proc/sys/net/$1"; fi
}
set_net ipv4/ip_forward 1
set_net ipv4/conf/all/rp_filter 0
set_net ipv4/conf/default/rp_filter 0
set_net ipv4/conf/eth0/rp_filter 0
set_net bridge/bridge-nf-call-iptables 1
set_net bridge/bridge-nf-call-ip6tables 1

# Nobody may listen any more.
echo up || :
exec /run/skep/bin/skep node agent --join /run/skep/config/join.json --host /run/skep/config/host.json >&2
