//! `GET /healthz`, without a client for more than that.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A status line fits many times.
const MAX_HEAD: usize = 256;

/// Asks once. Anything but status 200 is an error.
pub(super) async fn healthz(address: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut head = [0; MAX_HEAD];
    let mut length = 0;
    while let Some(room) = head.get_mut(length..).filter(|room| !room.is_empty()) {
        let read = connection.read(room).await?;
        length += read;
        let line =
            head.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.len() < length || read == 0 {
            let line = String::from_utf8_lossy(line);
            let status = line.split(' ').nth(1).unwrap_or_default();
            return if status == "200" { Ok(()) } else { Err(io::Error::other(line.trim().to_owned())) };
        }
    }
    Err(io::Error::other("not HTTP"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answer(answer: &'static str) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = connection.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
            for piece in answer.as_bytes().chunks(5) {
                connection.write_all(piece).await.unwrap();
            }
        });
        let result = healthz(address).await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn only_200_is_well() {
        answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        let error = answer("HTTP/1.1 500 Internal Server Error\r\n\r\nsyncloop failed").await.unwrap_err();
        assert_eq!(error.to_string(), "HTTP/1.1 500 Internal Server Error");
        assert!(answer("").await.is_err());
        assert!(healthz("127.0.0.1:1".parse().unwrap()).await.is_err());
    }
}
