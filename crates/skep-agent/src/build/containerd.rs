//! containerd's configuration, format 3 (containerd 2; the plugins' settings are those of 2.1 and later).

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::{
    config::{Host, Join, PodNetwork},
    facts::Facts,
    layout::{FOREIGN_CNI_CONFIG, FOREIGN_CNI_PROGRAMS, Layout},
};

/// The image every pod's namespaces are held by (containerd 2.2: `DefaultSandboxImage`).
const UPSTREAM_SANDBOX: &str = "registry.k8s.io/pause:3.10.1";
/// Handler of pods without a RuntimeClass.
const DEFAULT: &str = "runc";

/// The configuration file. `runtimes` are the OCI runtimes by handler, with the full paths of their programs.
pub(crate) fn containerd(
    join: &Join,
    host: &Host,
    layout: &Layout,
    facts: &Facts,
    runtimes: &BTreeMap<String, PathBuf>,
) -> String {
    let (cni_config, cni_programs) = match join.cluster.pod_network {
        PodNetwork::HostGw | PodNetwork::Vxlan => (layout.cni("conf"), vec![host.cni.clone()]),
        PodNetwork::None => (FOREIGN_CNI_CONFIG.into(), vec![FOREIGN_CNI_PROGRAMS.into(), host.cni.clone()]),
    };
    let cni_programs: Vec<String> = cni_programs.iter().map(|path| quoted(path)).collect();
    let mut text = format!(
        r#"version = 3
root = {root}
state = {state}
temp = {temp}

[grpc]
address = {socket}

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{sandbox}"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = {registries}

[plugins.'io.containerd.cri.v1.runtime']
netns_mounts_under_state_dir = true
restrict_oom_score_adj = {restrict}

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{cni_programs}]
conf_dir = {cni_config}

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "{DEFAULT}"

[plugins.'io.containerd.internal.v1.opt']
path = {opt}

[plugins.'io.containerd.nri.v1.nri']
disable = true
"#,
        sandbox = sandbox(join),
        root = quoted(&layout.containerd("root")),
        state = quoted(&layout.containerd("state")),
        temp = quoted(&layout.containerd("tmp")),
        socket = quoted(&layout.socket()),
        registries = quoted(&layout.registries()),
        // Without the right to lower OOM scores every sandbox would die.
        restrict = !facts.may_raise,
        cni_programs = cni_programs.join(", "),
        cni_config = quoted(&cni_config),
        opt = quoted(&layout.containerd("opt")),
    );
    for (handler, program) in runtimes {
        let table = format!("plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'{handler}'");
        let root = match handler.as_str() {
            DEFAULT => layout.runc(),
            other => layout.state().join(format!("runtime-{other}")),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[{table}]\nruntime_type = \"io.containerd.runc.v2\"\n\n\
             [{table}.options]\nBinaryName = {}\nRoot = {}\nSystemdCgroup = false\n",
            quoted(program),
            quoted(&root),
        );
    }
    text
}

/// The image that holds a pod's namespaces: our own where our registry is.
pub(crate) fn sandbox(join: &Join) -> String {
    match join.registry {
        Some(_) => skep_engine::pause_image().to_string(),
        None => UPSTREAM_SANDBOX.to_owned(),
    }
}

/// `hosts.toml` of all registries that have none of their own: this one stands for them.
pub(crate) fn registries(url: &str) -> String {
    let url = quoted(Path::new(url));
    format!("server = {url}\n\n[host.{url}]\ncapabilities = [\"pull\", \"resolve\"]\n")
}

/// A path as a TOML basic string.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::{facts, full_join, host, join, own_facts, own_host};

    fn runtimes(extra: &[&str]) -> BTreeMap<String, PathBuf> {
        let path = |name: &&str| ((*name).to_owned(), PathBuf::from(format!("/usr/sbin/{name}")));
        [DEFAULT].iter().chain(extra).map(path).collect()
    }

    #[test]
    fn configurations() {
        let (host, own) = (host(), own_host());
        let text = containerd(&join(), &host, &Layout::new(&host.state), &facts(), &runtimes(&[]));
        insta::assert_snapshot!("containerd_usual", text);
        let mut join = full_join();
        join.cluster.pod_network = PodNetwork::None;
        let text = containerd(&join, &own, &Layout::new(&own.state), &own_facts(), &runtimes(&["crun"]));
        insta::assert_snapshot!("containerd_full", text);
    }

    #[test]
    fn one_registry_stands_for_all() {
        let url = "http://198.19.3.1:5000";
        insta::assert_snapshot!(registries(url));
        let join = Join { registry: Some(url.into()), ..join() };
        assert!(sandbox(&join).starts_with("skep.dev/pause:"));
    }

    #[test]
    fn paths_are_quoted() {
        assert_eq!(quoted(Path::new("/a \"b\"\\c\n")), r#""/a \"b\"\\c\u000A""#);
    }
}
