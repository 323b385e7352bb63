//! The programs that tests call in containers, from Debian packages.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use skep_engine::oci::{Content, Layer};

const PACKAGES: &str = include_str!("../../../../tests/conformance/userland.txt");
/// What no program needs.
const LEFT_OUT: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "var/lib/dpkg",
];
/// Directories of every image, and their modes.
const DIRECTORIES: [(&str, u32); 10] = [
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("proc", 0o755),
    ("sys", 0o755),
    ("dev", 0o755),
    ("run", 0o755),
    ("root", 0o700),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
];
/// Upstream's tests run containers as these.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                      www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n\
                      user-defined-in-image:x:1000:1000::/home:/bin/sh\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n\
                     group-defined-in-image:x:50000:user-defined-in-image\n";
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n";
const NGINX: &str = "worker_processes 1;\nevents { worker_connections 512; }\nhttp { include mime.types; server { listen 80; \
                     root /usr/share/nginx/html; index index.html; } }\n";
const WELCOME: &str = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1>\
                       </body></html>\n";

/// Downloads the packages and unpacks them below `root`. No script of theirs is run.
pub async fn unpack(scratch: &Path, root: &Path) -> anyhow::Result<()> {
    let packages: Vec<&str> = PACKAGES.lines().filter(|line| !line.starts_with('#')).collect();
    let debs = scratch.join("debs");
    std::fs::create_dir(&debs)?;
    eprintln!("conformance: {} Debian packages", packages.len());
    run(Command::new("apt-get").args(["download", "-q"]).args(&packages).current_dir(&debs))?;
    for directory in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir_all(root.join("usr").join(directory))?;
        std::os::unix::fs::symlink(format!("usr/{directory}"), root.join(directory))?;
    }
    for deb in std::fs::read_dir(&debs)? {
        let unpack = r#"dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1""#;
        run(Command::new("sh").args(["-c", unpack]).arg(deb?.path()).arg(root))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// All of it as a layer: busybox stands for what the packages lack, bash is the shell. (Other shells drop variables whose
/// names are no identifiers, which tests look for.)
pub fn layer(root: &Path) -> anyhow::Result<Layer> {
    let mut layer = Layer::default();
    layer.tree(root, &|path| !LEFT_OUT.contains(&path))?;
    for (path, mode) in DIRECTORIES {
        layer.directory(path, mode);
    }
    for (path, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)] {
        layer.file(path, 0o644, Content::Bytes(text.into()));
    }
    layer.link("usr/bin/sh", "bash").link("usr/bin/nc", "nc.openbsd");
    let applets =
        Command::new(root.join("bin/busybox")).arg("--list").output().context("cannot run busybox")?;
    for applet in String::from_utf8(applets.stdout)?.lines() {
        // Where upstream's images have all of them.
        let (path, other) = (format!("usr/bin/{applet}"), format!("usr/sbin/{applet}"));
        if !layer.has(&path) {
            let target = if layer.has(&other) { format!("../sbin/{applet}") } else { "busybox".to_owned() };
            layer.link(&path, &target);
        }
    }
    Ok(layer)
}

/// What makes it an image of nginx.
pub fn nginx() -> Layer {
    let mut layer = Layer::default();
    layer.file("etc/nginx/nginx.conf", 0o644, Content::Bytes(NGINX.into()));
    for directory in ["var/lib/nginx/body", "var/log/nginx"] {
        layer.directory(directory, 0o755);
    }
    for page in ["index.html", "50x.html"] {
        layer.file(&format!("usr/share/nginx/html/{page}"), 0o644, Content::Bytes(WELCOME.into()));
    }
    layer.link("var/log/nginx/access.log", "/dev/stdout").link("var/log/nginx/error.log", "/dev/stderr");
    layer
}
