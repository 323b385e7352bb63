use super::*;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::resolve(Some(&dir.path().join("data"))).unwrap();
    layout.prepare().unwrap();
    (dir, layout)
}

#[test]
fn what_is_written_is_read_back() {
    let (_dir, layout) = layout();
    assert_eq!(read(&layout).unwrap(), None);
    let file = StateFile::open(&layout).unwrap();
    let process = ProcessId { pid: 7, start_ticks: 42, boot: "b".into() };
    let child = Child { process, fingerprint: "f".into() };
    file.update(|state| {
        state.network = Some("127.64.0.0/16".into());
        state.children.insert("etcd".into(), child.clone());
    })
    .unwrap();
    assert_eq!(file.get().instance.len(), 20);
    let again = StateFile::open(&layout).unwrap().get();
    assert_eq!(again, file.get());
    assert_eq!(again.children["etcd"], child);
    let left: Vec<_> = fs::read_dir(layout.root()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".state")), "{left:?}");
}

#[test]
fn another_format_is_refused_whatever_else_is_in_the_file() {
    let (_dir, layout) = layout();
    fs::write(layout.state(), r#"{"format": 2, "ports": "of another shape"}"#).unwrap();
    let error = StateFile::open(&layout).unwrap_err();
    assert!(matches!(error, Error::Format { found: 2, known: 1, .. }), "{error}");
    assert_eq!(error.code().to_string(), "SKEP-2004");
    assert!(error.help().contains("newer"), "{}", error.help());
}

#[test]
fn a_damaged_file_is_an_error_and_is_left_as_it_is() {
    let (_dir, layout) = layout();
    for text in ["", "{", r#"{"format": "one"}"#, r#"{"format": 1}"#] {
        fs::write(layout.state(), text).unwrap();
        let error = StateFile::open(&layout).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{text}: {error}");
        assert_eq!(fs::read_to_string(layout.state()).unwrap(), text);
    }
}

#[test]
fn a_file_from_before_a_field_existed_is_read() {
    let (_dir, layout) = layout();
    fs::write(layout.state(), r#"{"format": 1, "skep": "0.0.1", "instance": "i", "unknown": true}"#).unwrap();
    assert_eq!(read(&layout).unwrap().unwrap().children.len(), 0);
}
