use std::io::Write;

use super::{follow::Follower, *};

const SMALL: Policy = Policy { max_bytes: 10, keep: 2 };

fn write(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_writer_goes_on_through_rotation_and_only_so_many_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.log");
    let mut writer = open(&path).unwrap();
    write(&mut writer, "short\n");
    assert!(!rotate(&path, SMALL).unwrap());
    for n in 0..4 {
        write(&mut writer, &format!("generation {n}\n"));
        assert!(rotate(&path, SMALL).unwrap());
    }
    write(&mut writer, "after\n");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("etcd.log"), "after\n");
    assert_eq!(read("etcd.log.1"), "generation 3\n");
    assert_eq!(read("etcd.log.2"), "generation 2\n");
    assert!(!dir.path().join("etcd.log.3").exists());
}

#[test]
fn nothing_else_in_the_directory_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "more than ten bytes").unwrap();
    fs::write(dir.path().join("a.log"), "more than ten bytes").unwrap();
    rotate_all(dir.path(), SMALL).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "more than ten bytes");
    assert_eq!(fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "more than ten bytes");
}

#[test]
fn the_end_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    assert_eq!(tail(&path, 5).unwrap(), (Vec::new(), 0));
    for (text, lines, expected) in [
        ("", 3, ""),
        ("one\ntwo\nthree\n", 2, "two\nthree\n"),
        ("one\ntwo\nthree", 2, "two\nthree"),
        ("one\ntwo\n", 9, "one\ntwo\n"),
        ("one\ntwo\n", 0, ""),
        ("one\ntwo\n", usize::MAX, "one\ntwo\n"),
        ("\n\n\n", 2, "\n\n"),
    ] {
        fs::write(&path, text).unwrap();
        let (tail, offset) = tail(&path, lines).unwrap();
        assert_eq!(String::from_utf8(tail).unwrap(), expected, "{text:?} {lines}");
        assert_eq!(offset, text.len() as u64);
    }
}

#[test]
fn a_tail_for_a_message_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    fs::write(&path, "x".repeat(10_000)).unwrap();
    assert!(tail_text(&path, 3).len() < 500);
}

#[tokio::test]
async fn a_follower_sees_what_is_appended_and_survives_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let mut writer = open(&path).unwrap();
    write(&mut writer, "before the watch\n");
    let mut follower = Follower::new(&path, 0).unwrap();
    assert_eq!(follower.next().await.unwrap(), b"before the watch\n");
    let writing = tokio::task::spawn_blocking(move || {
        write(&mut writer, "while waiting\n");
        writer
    });
    assert_eq!(follower.next().await.unwrap(), b"while waiting\n");
    let mut writer = writing.await.unwrap();
    assert!(rotate(&path, SMALL).unwrap());
    write(&mut writer, "new\n");
    assert_eq!(follower.next().await.unwrap(), b"new\n");
}
