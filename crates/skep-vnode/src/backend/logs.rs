//! Reading the log of a container.

use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

/// Which of a container's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFilter {
    /// Both, in the order they were written.
    #[default]
    All,
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
}

/// The options of `kubectl logs`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Stay until the container ends (or the reader goes away).
    pub follow: bool,
    /// The run before the present one.
    pub previous: bool,
    /// Put the time (RFC 3339, nanoseconds) before each line.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Which output.
    pub filter: LogFilter,
}

/// Chunks of a log. Ends at the end of the log, or when following, at the end of the container.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;
