//! Two ends of a connection, each in whatever network it was started in: how much it carries, how long a round takes.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// One end.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Probe {
    /// Answers one connection after the other on a port, which it prints.
    Serve,
    /// Sends as much as it can, prints figures.
    Carry {
        /// The other end.
        to: SocketAddr,
        /// Seconds.
        seconds: u64,
    },
    /// Sends one byte and waits for one, again and again; prints figures.
    Echo {
        /// The other end.
        to: SocketAddr,
        /// Seconds.
        seconds: u64,
    },
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Gbit/s.
    pub rate: f64,
    /// Median of rounds, in µs.
    pub median: f64,
    /// 99 of 100 rounds took at most this, in µs.
    pub p99: f64,
}

/// Bytes of one write.
const CHUNK: usize = 128 << 10;
/// Bytes of one measurement at most.
const MOST: u64 = 4 << 30;
/// For anything to come.
const PATIENCE: Duration = Duration::from_secs(15);
const CARRY: u8 = b'c';
const ECHO: u8 = b'e';

/// Runs one end.
pub fn run(probe: &Probe) -> anyhow::Result<()> {
    match probe {
        Probe::Serve => serve(),
        Probe::Carry { to, seconds } => print(carry(*to, Duration::from_secs(*seconds))?),
        Probe::Echo { to, seconds } => print(echo(*to, Duration::from_secs(*seconds))?),
    }
}

fn print(figures: Figures) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        // One that broke off is its client's business.
        let _ = answer(stream?);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind == [ECHO] {
        while stream.read(&mut kind)? == 1 {
            stream.write_all(&kind)?;
        }
        return Ok(());
    }
    let mut buffer = vec![0; CHUNK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => count += u64::try_from(read)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    stream.write_all(&count.to_be_bytes())?;
    Ok(())
}

fn connect(to: SocketAddr, kind: u8) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

fn carry(to: SocketAddr, time: Duration) -> anyhow::Result<Figures> {
    let mut stream = connect(to, CARRY)?;
    let chunk = vec![7; CHUNK];
    let (began, mut sent) = (Instant::now(), 0_u64);
    while began.elapsed() < time && sent < MOST {
        stream.write_all(&chunk)?;
        sent += u64::try_from(CHUNK)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    let received = u64::from_be_bytes(received);
    anyhow::ensure!(received == sent, "{sent} bytes were sent and {received} came");
    Ok(Figures { rate: received as f64 * 8.0 / 1e9 / began.elapsed().as_secs_f64(), ..Figures::default() })
}

fn echo(to: SocketAddr, time: Duration) -> anyhow::Result<Figures> {
    let mut stream = connect(to, ECHO)?;
    let (began, mut byte, mut rounds) = (Instant::now(), [0], Vec::new());
    while began.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        rounds.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    rounds.sort_by(f64::total_cmp);
    let at = |part: usize| rounds.get((rounds.len() * part / 100).min(rounds.len() - 1)).copied();
    Ok(Figures { median: at(50).unwrap_or_default(), p99: at(99).unwrap_or_default(), ..Figures::default() })
}

/// An end that listens in the network of a process; ended when it is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// Starts it.
    pub fn start(network_of: u32) -> anyhow::Result<Self> {
        let mut child = within(network_of)?.arg("serve").stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let mut server = Self { child, port: 0 };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        server.port = line.trim().parse().context("the probe did not say its port")?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures from the network of a process.
pub fn measure(network_of: u32, kind: &str, to: SocketAddr, seconds: u64) -> anyhow::Result<Figures> {
    let output = within(network_of)?
        .args([kind, &to.to_string(), &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "the probe {kind} to {to} failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn within(process: u32) -> anyhow::Result<Command> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{process}/ns/net")).arg("--").arg(std::env::current_exe()?);
    command.arg("probe").stdin(Stdio::null());
    Ok(command)
}
