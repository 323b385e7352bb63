//! `kubectl port-forward` over both protocols.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{IDLE, TestNode, ip};

#[tokio::test(flavor = "multi_thread")]
async fn connections_reach_the_pods_own_address() {
    let node = TestNode::start("forward").await;
    let pod = node.up(node.script("p", IDLE)).await;
    // Whatever listens on the pod's address: here the test itself, which answers with what it reads, doubled.
    let listener = TcpListener::bind((ip(&pod), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    for websockets in ["true", "false"] {
        let ports = format!(":{port}");
        let environment = [("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)];
        let mut client = node
            .kubectl_command(&["port-forward", "--address=127.0.0.1", "pod/p", &ports], &environment)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("kubectl ended");
        let local = line.split(" -> ").next().unwrap().rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let both = (0..4_u8).map(|n| async move {
            let sent = vec![n; 300_000 + usize::from(n)];
            let mut stream = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
            let (mut read, mut write) = stream.split();
            let send = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let receive = read.read_to_end(&mut back);
            let (_, received) = tokio::join!(send, receive);
            received.unwrap();
            assert!(back == sent.repeat(2), "websockets={websockets}: {} bytes", back.len());
        });
        futures::future::join_all(both).await;
        client.kill().await.unwrap();
    }
    node.end().await;
}
