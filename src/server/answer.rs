//! What a socket says that does not echo: each question gets one answer.

use std::fmt;
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

/// Answers on some sockets, in place of an echo: [`Config::answer`](super::Config::answer). Every
/// worker calls it, and serves nobody until it returns. A confined server allows it only the system
/// calls that ask a socket about its peer.
pub trait Answer: fmt::Debug + Send + Sync {
    /// Whether the inherited socket of this number, from 0 on, does not echo. It is asked once.
    fn is_for(&self, socket: usize) -> bool;

    /// Answers a question. Whoever asks is a stranger.
    fn answer(&self, question: &Question<'_>) -> Response;

    /// Each worker has now received the first byte or datagram, on any socket.
    fn has_received(&self) {}
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The number of the inherited socket.
    pub socket: usize,
    /// Who asks.
    pub asker: Asker<'a>,
    /// The datagram, the message, or the first bytes of a stream: at most
    /// [`Question::STREAM_BYTES_MAX`]. They may be empty.
    pub bytes: &'a [u8],
    /// Whether nothing will follow these bytes that could be waited for.
    pub is_whole: bool,
}

impl Question<'_> {
    /// How many bytes of a stream are a question.
    pub const STREAM_BYTES_MAX: usize = 8192;
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// The peer of this connection.
    Connection(BorrowedFd<'a>),
    /// The sender of a datagram. The kernel reports the user of a unix socket.
    Sender(&'a SockAddr, Option<Credentials>),
}

/// A process, and whom it runs as: `struct ucred` of unix(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Its process id; 0 if it is outside of our PID namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// These bytes are sent; then a connection ends. To a datagram, they are at most three times as
    /// long as the question (RFC 9000, section 8.1): the sender may be forged, and its victim must
    /// not get more.
    Bytes(Vec<u8>),
    /// Nothing is sent, for this reason; a connection ends.
    Nothing(&'static str),
    /// The question is not complete. It is asked again, as a whole, when more has come.
    Incomplete,
}
