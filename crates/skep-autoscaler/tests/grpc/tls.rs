//! Who is answered, and with which certificate.

use skep_autoscaler::proto::provider::{NodeGroupsResponse, Nothing};
use skep_autoscaler::{Tls, TlsFiles};

use crate::bed::{self, Running};

async fn is_answered(caller: Result<bed::Caller, String>) -> bool {
    // With TLS 1.3 a client hears that it is refused only after its own handshake.
    match caller {
        Ok(caller) => caller.provider::<_, NodeGroupsResponse>("NodeGroups", Nothing {}).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_certificates_of_the_authority_are_answered() {
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let own = bed::client_pair(&server.authority);
    assert!(is_answered(server.connect(Some(&own)).await).await);
    assert!(!is_answered(server.connect(None).await).await, "no certificate");
    let foreign = bed::client_pair(&bed::authority("autoscaler"));
    assert!(!is_answered(server.connect(Some(&foreign)).await).await, "another authority of the same name");
    assert!(is_answered(server.connect(Some(&own)).await).await, "and it goes on");
}

#[tokio::test]
async fn nothing_is_spoken_without_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let mut plain = tokio::net::TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "at most an alert: {answer:?}");
}

#[tokio::test]
async fn new_files_are_taken_over_and_bad_ones_are_not() {
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let standing = server.caller().await;
    let next = bed::authority("next");
    bed::write(&server.files, &next);
    server.tls.replace(&server.files.read().unwrap()).unwrap();
    let of_next = bed::client_pair(&next);
    assert!(is_answered(bed::connect(server.address, &next, Some(&of_next)).await).await);
    assert!(
        !is_answered(server.connect(Some(&bed::client_pair(&server.authority))).await).await,
        "the old one"
    );
    assert!(is_answered(Ok(standing)).await, "a connection that stands goes on");

    std::fs::write(&server.files.key, "nonsense").unwrap();
    let error = server.tls.replace(&server.files.read().unwrap()).unwrap_err().to_string();
    assert!(error.contains("key") && error.contains("SKEP-8090") && !error.contains("nonsense"), "{error}");
    assert!(
        is_answered(bed::connect(server.address, &next, Some(&of_next)).await).await,
        "the last good ones"
    );
}

#[tokio::test]
async fn files_that_do_not_go_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let files = TlsFiles { certificate: at("crt"), key: at("key"), client_ca: Some(at("ca")) };
    assert!(files.read().err().unwrap().to_string().contains("SKEP-8090"));
    bed::write(&files, &bed::authority("one"));
    let key = std::fs::read(&files.key).unwrap();
    bed::write(&files, &bed::authority("two"));
    assert!(Tls::new(&files.read().unwrap()).is_ok());
    std::fs::write(&files.key, key).unwrap();
    assert!(Tls::new(&files.read().unwrap()).is_err(), "the key of another certificate");
}
