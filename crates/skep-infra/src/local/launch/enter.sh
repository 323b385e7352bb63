# Runs on the host. Arguments: network namespace, files to enter the machine's cgroups by, "--", then as inside.sh, whose
# text is $inside.
set -eu
umask 022
netns=$1
shift
while [ "$1" != -- ]; do
    echo 0 >"$1" # 0 is the process that writes
    shift
done
shift
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
exec nsenter --net="$netns" unshare --mount --propagation slave --pid --fork --uts --ipc --mount-proc \
    sh -c "$inside" skep-machine "$@" </dev/null
