use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use futures::StreamExt;
use proptest::prelude::*;

use super::capture::Copier;
use super::*;
use crate::backend::{LogFilter, LogOptions};

fn paths(dir: &Path) -> LogPaths {
    LogPaths { log: dir.join("logs/0.log"), raw: dir.join("raw"), stem: "c.0".into() }
}

fn append(path: &Path, text: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text).unwrap();
}

fn drain(copier: &mut Copier, last: bool) {
    while copier.step(last).unwrap().more {}
}

async fn text(paths: &LogPaths, options: LogOptions) -> String {
    let mut stream = read(paths.log.clone(), Ended::Yes, options).await.unwrap();
    let mut out = Vec::new();
    while let Some(chunk) = stream.next().await {
        out.extend(chunk.unwrap());
    }
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn options_of_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let entries = [
        "2026-01-01T00:00:01.000000000Z stdout F one",
        "2026-01-01T00:00:02.000000000Z stderr F two",
        "2026-01-01T00:00:03.000000000Z stdout P thr",
        "2026-01-01T00:00:03.500000000Z stdout F ee",
        "broken",
        "2026-01-01T00:00:04.000000000Z stdout F ",
        "2026-01-01T00:00:05.000000000Z stdout P end",
    ];
    append(&files::part(&paths.log, 1), format!("{}\n", entries[..2].join("\n")).as_bytes());
    append(&paths.log, format!("{}\n", entries[2..].join("\n")).as_bytes());
    let get = |options: LogOptions| text(&paths, options);
    assert_eq!(get(LogOptions::default()).await, "one\ntwo\nthree\n\nend");
    assert_eq!(get(LogOptions { filter: LogFilter::Stderr, ..LogOptions::default() }).await, "two\n");
    assert_eq!(
        get(LogOptions { filter: LogFilter::Stdout, ..LogOptions::default() }).await,
        "one\nthree\n\nend"
    );
    assert_eq!(get(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }).await, "one\nt");
    assert_eq!(get(LogOptions { limit_bytes: Some(0), ..LogOptions::default() }).await, "");
    let since = Some("2026-01-01T00:00:03.2Z".parse().unwrap());
    assert_eq!(get(LogOptions { since, ..LogOptions::default() }).await, "ee\n\nend");
    for (lines, expected) in [
        (0, ""),
        (1, "end"),
        (2, "\nend"),
        (3, "\nend"),
        (4, "ee\n\nend"),
        (6, "two\nthree\n\nend"),
        (7, "one\ntwo\nthree\n\nend"),
        (99, "one\ntwo\nthree\n\nend"),
    ] {
        assert_eq!(
            get(LogOptions { tail_lines: Some(lines), ..LogOptions::default() }).await,
            expected,
            "{lines}"
        );
    }
    let stamped = get(LogOptions { timestamps: true, tail_lines: Some(5), ..LogOptions::default() }).await;
    assert_eq!(
        stamped,
        "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n2026-01-01T00:00:05.000000000Z end"
    );
    assert_eq!(tail(&paths.log, 80, 6).unwrap(), "e\n\nend");
    assert_eq!(tail(&dir.path().join("none"), 80, 6).unwrap(), "");
}

#[tokio::test]
async fn long_lines_are_cut_and_put_together_again() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let long = "x".repeat(200_000);
    append(&paths.stdout(), format!("{long}\nshort\nunfinished").as_bytes());
    let mut copier = Copier::open(paths.clone(), LogPolicy::default()).unwrap();
    drain(&mut copier, false);
    assert_eq!(text(&paths, LogOptions::default()).await, format!("{long}\nshort\n"));
    drain(&mut copier, true);
    assert_eq!(text(&paths, LogOptions::default()).await, format!("{long}\nshort\nunfinished"));
}

#[tokio::test]
async fn rotation_bounds_the_log_and_holes_bound_the_raw_file() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let policy = LogPolicy { file_size: 1 << 20, files: 3 };
    let mut copier = Copier::open(paths.clone(), policy).unwrap();
    for n in 0..80 {
        append(&paths.stdout(), format!("{n:060000}\n").repeat(3).as_bytes());
        drain(&mut copier, false);
    }
    assert_eq!(files::chain(&paths.log).len(), 3);
    let kept: u64 = files::chain(&paths.log).iter().map(|p| p.metadata().unwrap().len()).sum();
    assert!(kept < 4 << 20, "{kept}");
    let raw = paths.stdout().metadata().unwrap();
    assert!(raw.len() > 13 << 20 && raw.blocks() * 512 < 2 << 20, "{} of {}", raw.blocks() * 512, raw.len());
    let text = text(&paths, LogOptions::default()).await;
    assert!(text.ends_with(&format!("{:060000}\n", 79)));
}

#[tokio::test]
async fn a_flood_is_cut_and_the_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let policy = LogPolicy { file_size: 100_000, files: 2 };
    let mut copier = Copier::open(paths.clone(), policy).unwrap();
    append(&paths.stderr(), "line\n".repeat(1_000_000).as_bytes());
    append(&paths.stderr(), b"last\n");
    drain(&mut copier, true);
    let text = text(&paths, LogOptions::default()).await;
    assert!(text.ends_with("line\nlast\n"));
    assert!(text.len() < 400_000);
}

#[tokio::test]
async fn a_truncated_raw_file_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let mut copier = Copier::open(paths.clone(), LogPolicy::default()).unwrap();
    append(&paths.stdout(), b"before\n");
    drain(&mut copier, false);
    std::fs::write(paths.stdout(), "new\n").unwrap();
    drain(&mut copier, false);
    assert_eq!(text(&paths, LogOptions::default()).await, "before\nnew\n");
}

#[tokio::test]
async fn following_sees_everything_once_and_ends_with_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let pump = LogPump::start().unwrap();
    let policy = LogPolicy { file_size: 200, files: 4 };
    let capture = pump.open(paths.clone(), policy).await.unwrap();
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut stream = read(paths.log.clone(), Ended::No(capture.clone()), options).await.unwrap();
    let mut seen = String::new();
    let mut expected = String::new();
    for n in 0..20 {
        let line = format!("line {n}\n");
        append(&paths.stdout(), line.as_bytes());
        expected.push_str(&line);
        // Rotation happens in between; every line arrives by itself, through inotify alone.
        while seen.len() < expected.len() {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(30), stream.next()).await;
            seen.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
        }
        assert_eq!(seen, expected);
    }
    append(&paths.stdout(), b"tail without end");
    capture.finish().await.unwrap();
    while let Some(chunk) = stream.next().await {
        seen.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    assert_eq!(seen, expected + "tail without end");
    assert_eq!(std::fs::read_dir(&paths.raw).unwrap().count(), 0, "raw files are gone");
}

#[tokio::test]
async fn two_containers_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let pump = LogPump::start().unwrap();
    let make = |n: usize| LogPaths {
        log: dir.path().join(format!("{n}.log")),
        raw: dir.path().join("raw"),
        stem: n.to_string(),
    };
    let first = pump.open(make(1), LogPolicy::default()).await.unwrap();
    let second = pump.open(make(2), LogPolicy::default()).await.unwrap();
    append(&first.paths().stdout(), b"1\n");
    first.finish().await.unwrap();
    let mut progress = second.progress();
    append(&second.paths().stderr(), b"2\n");
    tokio::time::timeout(std::time::Duration::from_secs(30), progress.changed()).await.unwrap().unwrap();
    assert_eq!(text(second.paths(), LogOptions::default()).await, "2\n");
    assert_eq!(text(first.paths(), LogOptions::default()).await, "1\n");
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    let mut copier = Copier::open(paths.clone(), LogPolicy::default()).unwrap();
    append(&paths.stdout(), b"a\n");
    copier.break_log();
    assert!(copier.step(false).is_err());
    drop(copier);
    let mut copier = Copier::open(paths.clone(), LogPolicy::default()).unwrap();
    drain(&mut copier, false);
    assert_eq!(text(&paths, LogOptions::default()).await, "a\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is printed, whenever the node is killed and comes back: every byte is in the log once.
    #[test]
    fn nothing_is_lost_and_nothing_is_there_twice(
        pieces in proptest::collection::vec((prop_oneof!["[a-z\n]{0,30}", "[a-z]{16380,16390}\n?"], any::<bool>(), any::<u8>()), 1..12)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let policy = LogPolicy { file_size: 300, files: 500 };
        let mut copier = Some(Copier::open(paths.clone(), policy).unwrap());
        let mut all = [String::new(), String::new()];
        for (piece, err, fate) in &pieces {
            append(&if *err { paths.stderr() } else { paths.stdout() }, piece.as_bytes());
            all[usize::from(*err)].push_str(piece);
            drain(copier.as_mut().unwrap(), false);
            if fate % 3 == 0 {
                // Killed after writing to the log but before noting it down.
                drop(copier.take());
                append(&paths.log, b"2026-01-01T00:00:01.000000000Z stdout F not accounted for\n");
                copier = Some(Copier::open(paths.clone(), policy).unwrap());
            }
        }
        drain(copier.as_mut().unwrap(), true);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let paths = Arc::new(paths);
        for (filter, expected) in [(LogFilter::Stdout, &all[0]), (LogFilter::Stderr, &all[1])] {
            let options = LogOptions { filter, ..LogOptions::default() };
            prop_assert_eq!(&runtime.block_on(text(&paths, options)), expected);
        }
    }
}
