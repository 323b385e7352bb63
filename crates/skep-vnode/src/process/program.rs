//! Which file is run for a command, and what its arguments are.
//!
//! An image is a list of directories of programs, so a path that the real image would have, like
//! `/usr/local/bin/kube-apiserver`, means the program of that name in them. Host programs come second and only where
//! the image allows them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;

use super::environment::Environment;
use super::expand::expand;
use super::paths::PathMap;
use crate::backend::ImageRoot;

/// Where programs of the host are looked up: the default `PATH` of container runtimes.
const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command line ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// The file.
    pub program: PathBuf,
    /// Its own name as the pod gave it.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// `PATH` for a container of this image, in front of `own` if the container sets one.
pub(super) fn search_path(image: &ImageRoot, own: Option<&str>) -> String {
    let mut parts: Vec<String> = image.bin_dirs.iter().map(|d| d.display().to_string()).collect();
    match own {
        Some(own) => parts.push(own.to_owned()),
        None if image.host_programs => parts.push(HOST_PATH.to_owned()),
        None => {}
    }
    parts.join(":")
}

/// Command and arguments of a container: `command` replaces the image's entry point *and* its arguments, `args`
/// replaces its arguments. References are expanded, mount paths are mapped.
pub(super) fn words(
    container: &Container,
    image: &ImageRoot,
    env: &Environment,
    map: &PathMap,
) -> Vec<String> {
    let command = container.command.as_ref().filter(|c| !c.is_empty());
    let args = container.args.as_ref().filter(|a| !a.is_empty());
    let none = Vec::new();
    let (command, args) = match (command, args) {
        (Some(command), args) => (command, args.unwrap_or(&none)),
        (None, Some(args)) => (&image.entrypoint, args),
        (None, None) => (&image.entrypoint, &image.args),
    };
    let value = |name: &str| env.get(name).map(String::as_str);
    command.iter().chain(args).map(|word| map.apply(&expand(word, value))).collect()
}

/// Finds the program of a command line. `path` is the container's `PATH`, `directory` its working directory. Errors
/// are the texts of container runtimes.
pub(super) fn resolve(
    words: &[String],
    image: &ImageRoot,
    path: &str,
    directory: &Path,
) -> Result<CommandLine, String> {
    let Some((name, args)) = words.split_first().filter(|(name, _)| !name.is_empty()) else {
        return Err("no command specified".into());
    };
    let line = |program| CommandLine { program, name: name.clone(), args: args.to_vec() };
    if !name.contains('/') {
        let mut tried = path.split(':').filter(|d| d.starts_with('/')).map(|d| Path::new(d).join(name));
        return match tried.find(|p| executable(p).is_ok()) {
            Some(program) => Ok(line(program)),
            None => Err(format!("exec: {name:?}: executable file not found in $PATH")),
        };
    }
    if !name.starts_with('/') {
        let program = directory.join(name);
        return executable(&program).map(|()| line(program)).map_err(|why| format!("exec: {name:?}: {why}"));
    }
    let file_name = Path::new(name).file_name().unwrap_or_default();
    if let Some(program) = image.bin_dirs.iter().map(|d| d.join(file_name)).find(|p| executable(p).is_ok()) {
        return Ok(line(program));
    }
    let program = PathBuf::from(name);
    let host = HOST_PATH.split(':').any(|dir| program.parent() == Some(Path::new(dir)));
    if host && !image.host_programs {
        return Err(format!("exec: {name:?}: no such file or directory: it is not part of the image"));
    }
    executable(&program).map(|()| line(program)).map_err(|why| format!("exec: {name:?}: {why}"))
}

fn executable(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("no such file or directory".into()),
        Err(error) => Err(error.to_string()),
        Ok(meta) if meta.is_dir() => Err("is a directory".into()),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err("permission denied".into()),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(command: &[&str], args: &[&str]) -> Container {
        let words =
            |list: &[&str]| (!list.is_empty()).then(|| list.iter().map(|s| (*s).to_owned()).collect());
        Container { command: words(command), args: words(args), ..Container::default() }
    }

    #[test]
    fn command_and_args_replace_what_the_image_says() {
        let image =
            ImageRoot { entrypoint: vec!["e".into()], args: vec!["a".into()], ..ImageRoot::default() };
        let words = |command: &[&str], args: &[&str]| {
            words(&container(command, args), &image, &Environment::new(), &PathMap::new()).join(" ")
        };
        assert_eq!(words(&[], &[]), "e a");
        assert_eq!(words(&["c"], &[]), "c");
        assert_eq!(words(&[], &["x", "y"]), "e x y");
        assert_eq!(words(&["c"], &["x"]), "c x");
    }

    #[test]
    fn references_are_expanded_before_paths_are_mapped() {
        let env = Environment::from([("DIR".into(), "/data".into())]);
        let mut map = PathMap::new();
        assert!(map.insert("/data", "/real"));
        let words =
            words(&container(&["p"], &["--d=$(DIR)/x", "$$(DIR)"]), &ImageRoot::default(), &env, &map);
        assert_eq!(words, ["p", "--d=/real/x", "$(DIR)"]);
    }

    #[test]
    fn programs_of_the_image_come_first_and_the_host_only_when_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("data"), "").unwrap();
        let mut image = ImageRoot { bin_dirs: vec![dir.path().into()], ..ImageRoot::default() };
        let find = |image: &ImageRoot, name: &str| {
            resolve(&[name.to_owned()], image, &search_path(image, None), dir.path()).map(|l| l.program)
        };
        assert_eq!(find(&image, "tool"), Ok(tool.clone()));
        assert_eq!(find(&image, "/usr/local/bin/tool"), Ok(tool.clone()));
        assert_eq!(find(&image, "./tool"), Ok(dir.path().join("./tool")));
        assert_eq!(find(&image, "sh"), Err("exec: \"sh\": executable file not found in $PATH".into()));
        assert!(find(&image, "/bin/sh").unwrap_err().contains("not part of the image"));
        assert_eq!(find(&image, "./data"), Err("exec: \"./data\": permission denied".into()));
        assert_eq!(find(&image, "/no/such"), Err("exec: \"/no/such\": no such file or directory".into()));
        image.host_programs = true;
        assert_eq!(find(&image, "/bin/sh"), Ok("/bin/sh".into()));
        assert!(find(&image, "sh").is_ok());
        assert_eq!(resolve(&[], &image, "", dir.path()), Err("no command specified".into()));
    }
}
