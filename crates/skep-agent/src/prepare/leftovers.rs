//! Programs that an earlier agent has left running, on a machine that is not its own namespace.
//!
//! They are known by the full path of their configuration file in their command line and by seeing the same files, so no
//! record is needed that a crash could lose. They are ended, not adopted: pods go on without them, and their new copies have the settings of today.

use std::{fs, path::Path, time::Duration};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Error, Result, layout::Layout};

/// Time between the polite signal and the other one, and after that one.
const GRACE: Duration = Duration::from_secs(10);

/// Ends what is left and returns when nothing is.
pub(super) async fn end(layout: &Layout) -> Result<()> {
    let configurations = [layout.kube_proxy_config(), layout.kubelet_config(), layout.containerd_config()]
        .map(|path| path.display().to_string());
    let ended = tokio::task::spawn_blocking(move || end_all(&configurations)).await;
    ended.unwrap_or(Ok(()))
}

fn end_all(configurations: &[String]) -> Result<()> {
    let entries = fs::read_dir("/proc").map_err(Error::file("read", "/proc"))?;
    for entry in entries.flatten() {
        let pid =
            entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            end_one(pid, configurations)?;
        }
    }
    Ok(())
}

fn end_one(pid: Pid, configurations: &[String]) -> Result<()> {
    // First the descriptor, then the look: what is looked at is what is behind the descriptor.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if !is_ours(&command, configurations) || !sees_our_files(pid) {
        return Ok(());
    }
    let program = program(&command);
    tracing::info!(program, pid = pid.as_raw_nonzero(), "ending what an earlier agent has left");
    for signal in [Signal::TERM, Signal::KILL] {
        // Already gone is no error.
        let _ = pidfd_send_signal(&process, signal);
        let mut wait = [PollFd::new(std::os::fd::AsFd::as_fd(&process), PollFlags::POLLIN)];
        let grace = PollTimeout::try_from(GRACE).unwrap_or(PollTimeout::MAX);
        if poll(&mut wait, grace).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
    }
    Err(Error::Leftover { program, pid: pid.as_raw_nonzero().get() })
}

/// Whether one of the arguments is one of these files, as `--config FILE` or `--config=FILE`. A shim or a pod has none.
fn is_ours(command: &[u8], configurations: &[String]) -> bool {
    let mut arguments = command.split(|byte| *byte == 0).skip(1);
    let file = |argument: &[u8]| {
        let argument = argument.strip_prefix(b"--config=").unwrap_or(argument);
        configurations.iter().any(|path| path.as_bytes() == argument)
    };
    arguments.any(file)
}

/// Whether it has the same files: in a mount namespace of its own the same path is another file, as in local machines on
/// this host.
fn sees_our_files(pid: Pid) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    of(&pid.as_raw_nonzero().to_string()) == of("self")
}

fn program(command: &[u8]) -> String {
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    Path::new(&*first).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_programs_with_our_configuration_are_ours() {
        let ours = ["/var/lib/skep/etc/kubelet.json".to_owned()];
        for (command, is) in [
            ("/x/kubelet\0--config=/var/lib/skep/etc/kubelet.json\0--v=2\0", true),
            ("/x/kubelet\0--config\0/var/lib/skep/etc/kubelet.json\0", true),
            ("/x/kubelet\0--config=/var/lib/other/etc/kubelet.json\0", false),
            ("/var/lib/skep/etc/kubelet.json\0", false),
            ("", false),
        ] {
            assert_eq!(is_ours(command.as_bytes(), &ours), is, "{command}");
        }
        assert_eq!(program(b"/x/kubelet\0--a\0"), "kubelet");
    }

    #[tokio::test]
    async fn what_was_left_ends_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let config = layout.kubelet_config();
        let start = |config: &Path| {
            let mut command = Command::new("/bin/sh");
            command.args([
                "-c",
                // Until its input ends, with no child that could outlive it.
                "read -r _",
                "kubelet",
                &format!("--config={}", config.display()),
            ]);
            command.stdin(std::process::Stdio::piped()).spawn().unwrap()
        };
        let (mut ours, mut other) = (start(&config), start(Path::new("/another/etc/kubelet.json")));
        // Until it is the shell, it is still this program.
        let is = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(b"/bin/sh");
        while !is(ours.id()) || !is(other.id()) {
            std::thread::yield_now();
        }
        let pid = |child: &std::process::Child| Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(sees_our_files(pid(&ours)));
        end(&layout).await.unwrap();
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        end(&layout).await.unwrap();
    }
}
