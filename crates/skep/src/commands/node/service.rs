//! The agent as a service of systemd, on machines that have it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use skep_api::Code;

use crate::{
    error::{Error, Result},
    exit::Exit,
};

/// Name of the service.
const NAME: &str = "skep-node.service";
/// Where an administrator's own units are (systemd.unit(5)).
const UNITS: &str = "/etc/systemd/system";
/// There where systemd is the service manager (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Settings of the engine that the service needs as whoever installed it had them. Nothing that may be secret: everybody on
/// the machine can read a unit.
const KEPT: [&str; 5] =
    ["SKEP_ENGINE_CACHE", "SKEP_ENGINE_PATH", "SKEP_ENGINE_RELEASES", "SKEP_ENGINE_SOURCES", "SKEP_GO"];

/// Whether systemd manages the services of this machine.
pub fn is_there() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Writes the unit and starts it, anew if it runs.
///
/// # Errors
/// SKEP-8132: the unit cannot be written, or systemd does not take it.
pub fn install() -> Result<()> {
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let kept = KEPT.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let text = unit(&program, &kept.collect()).map_err(failed)?;
    let (path, new) = (path(), path().with_extension("new"));
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|error| failed(&error))?;
    for arguments in [&["daemon-reload"][..], &["enable", NAME], &["restart", NAME]] {
        systemctl(arguments)?;
    }
    Ok(())
}

/// Takes the unit away, so that the next boot does not start it. The one that runs ends by itself.
///
/// # Errors
/// As [`install`].
pub fn remove() -> Result<()> {
    match fs::exists(path()) {
        Ok(true) => {}
        _ => return Ok(()),
    }
    systemctl(&["disable", NAME])?;
    fs::remove_file(path()).map_err(|error| failed(&error))?;
    systemctl(&["daemon-reload"])
}

fn path() -> PathBuf {
    Path::new(UNITS).join(NAME)
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("systemctl").args(arguments).output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(io::Error::other(format!("systemctl {}: {said}", arguments.join(" ")))))
}

fn failed(why: impl std::fmt::Display) -> Error {
    let message = format!("the service {NAME} cannot be installed or removed: {why}");
    Error::new(Code::new(8132), Exit::Failure, message)
        .help("run the line without --service, under a service manager of your own")
}

/// The unit. Pure.
///
/// Pods go on when the agent ends or is replaced: only its own process is killed. Where it was told that this machine is no
/// node (any more), it is not started again.
///
/// # Errors
/// A path or a value that no unit can hold.
pub fn unit(program: &Path, environment: &BTreeMap<&str, String>) -> Result<String, &'static str> {
    let program = program.to_str().ok_or("the path of this program is not UTF-8")?;
    let program = quoted(program).ok_or("the path of this program has a line break")?;
    let mut variables = String::new();
    // A service has no home directory by itself, and below it is the engine's cache.
    let home = [("HOME", &"/root".to_owned())];
    for (name, value) in home.into_iter().chain(environment.iter().map(|(name, value)| (*name, value))) {
        let assignment = quoted(&format!("{name}={value}")).ok_or("a variable has a line break")?;
        variables.push_str(&format!("Environment={assignment}\n"));
    }
    let (usage, refused) = (Exit::Usage as u8, Exit::Refused as u8);
    Ok(format!(
        "# Written by `skep node agent --service`. Changes are lost when it is run again; use `systemctl edit`.\n\
         [Unit]\n\
         Description=Skep node agent: this machine is a node of a Kubernetes cluster\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={program} node agent\n\
         {variables}\
         Restart=always\n\
         RestartSec=5\n\
         RestartPreventExitStatus={usage} {refused}\n\
         KillMode=process\n\
         Delegate=yes\n\
         TasksMax=infinity\n\
         OOMScoreAdjust=-999\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}

/// A word of a unit file in quotes: `"` and `\` with a backslash, `%` doubled (systemd.syntax(7), systemd.unit(5)).
fn quoted(text: &str) -> Option<String> {
    if text.contains(|c: char| c.is_control()) {
        return None;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    Some(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit() {
        let environment = [("SKEP_ENGINE_RELEASES", "off".to_owned())].into();
        insta::assert_snapshot!(unit(Path::new("/usr/local/bin/skep"), &environment).unwrap());
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let environment = [("SKEP_GO", "/a%40\"\\b".to_owned())].into();
        let text = unit(Path::new("/opt/a b/skep"), &environment).unwrap();
        assert!(text.contains("ExecStart=\"/opt/a b/skep\" node agent\n"), "{text}");
        assert!(text.contains("Environment=\"SKEP_GO=/a%%40\\\"\\\\b\"\n"), "{text}");
        for bad in ["a\nExecStartPre=/bin/x", "a\r", "a\0"] {
            assert!(unit(Path::new("/skep"), &[("SKEP_GO", bad.to_owned())].into()).is_err());
            assert!(unit(Path::new(bad), &BTreeMap::new()).is_err());
        }
    }
}
