//! An image made of one program: what pods of the tests and their sandboxes run.

use std::{fs, path::Path};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Where busybox is on this host.
const BUSYBOX: &str = "/usr/bin/busybox";
/// Programs of it that pods use.
const APPLETS: [&str; 6] = ["sh", "sleep", "nc", "wget", "cat", "echo"];

/// Whether the host's busybox needs nothing beside it.
pub fn possible() -> bool {
    let output = std::process::Command::new("ldd").arg(BUSYBOX).output();
    output.is_ok_and(|output| !output.status.success())
}

/// Writes an archive as `docker save` makes it, with one image under these names. It sleeps unless told otherwise.
pub fn write(path: &Path, names: &[&str]) {
    let layer = layer();
    let hex =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
        "history": [{"created_by": "test"}],
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", hex(&config));
    let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": ["layer.tar"]}]);
    let mut archive = Builder::new(fs::File::create(path).unwrap());
    file(&mut archive, &config_name, 0o644, &config);
    file(&mut archive, "layer.tar", 0o644, &layer);
    file(&mut archive, "manifest.json", 0o644, &serde_json::to_vec(&manifest).unwrap());
    archive.finish().unwrap();
}

fn layer() -> Vec<u8> {
    let mut layer = Builder::new(Vec::new());
    for directory in ["bin/", "tmp/", "etc/", "dev/", "proc/", "sys/"] {
        let mut header = header(EntryType::Directory, 0o755, 0);
        layer.append_data(&mut header, directory, std::io::empty()).unwrap();
    }
    file(&mut layer, "bin/busybox", 0o755, &fs::read(BUSYBOX).unwrap());
    for applet in APPLETS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    layer.into_inner().unwrap()
}

fn file(archive: &mut Builder<impl std::io::Write>, name: &str, mode: u32, content: &[u8]) {
    let mut header = header(EntryType::Regular, mode, content.len());
    archive.append_data(&mut header, name, content).unwrap();
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}
