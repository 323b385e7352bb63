use std::{fs::File, io::Write};

use skep_agent::logs::rotate;

use super::{follow::Follower, open};

fn write(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).unwrap();
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
    assert!(rotate(&path, 10).unwrap());
    write(&mut writer, "new\n");
    assert_eq!(follower.next().await.unwrap(), b"new\n");
}
