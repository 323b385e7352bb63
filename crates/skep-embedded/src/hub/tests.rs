use std::collections::BTreeSet;

use super::*;
use crate::pki;

fn hub() -> (tempfile::TempDir, Hub) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::resolve(Some(&dir.path().join("data dir"))).unwrap();
    layout.prepare().unwrap();
    layout.prepare_inside().unwrap();
    let pki = pki::ensure(&layout, &[], true, jiff::Timestamp::now()).unwrap();
    let ports = Ports::default().choose(&BTreeSet::new(), Path::new("/fixed"), |_| true).unwrap();
    let hub = Hub { layout, pki, ports, node_proxy: "@skep/test/nodes".into() };
    (dir, hub)
}

#[test]
fn command_lines_and_files() {
    let (dir, hub) = hub();
    let mut text = String::new();
    for program in Program::ALL {
        text += &format!("# {}\n{}\n", program.name(), hub.args(program).unwrap().join("\n"));
        for file in hub.files(program).unwrap() {
            let shown =
                if file.text.contains("certificate-authority-data") { "<kubeconfig>\n" } else { &file.text };
            text += &format!("## {}\n{shown}", file.path.display());
        }
    }
    let text = text.replace(&dir.path().to_string_lossy().into_owned(), "<dir>");
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_secret_is_on_a_command_line_and_nothing_listens_elsewhere() {
    let (_dir, hub) = hub();
    for program in Program::ALL {
        for arg in hub.args(program).unwrap() {
            assert!(!arg.contains("BEGIN") && !arg.contains("0.0.0.0"), "{arg}");
            if arg.contains("listen") {
                assert!(arg.contains("127.0.0.1"), "{arg}");
            }
        }
    }
}
