//! What one peer has sent, what has come back, and what must still come back.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::OnceLock;

/// The length of what the peers' bytes are cut from: a prime, so that no buffer's size repeats it.
const PERIOD: usize = 1_048_573;
/// The most that is sent with one call.
pub(crate) const CHUNK_MAX: usize = 32_768;

/// What a peer sends at a position of its own: bytes that are the same nowhere near, and of no
/// other peer's.
fn content(peer: usize, position: usize, len: usize) -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let mixed = |index: usize| {
        ((index % PERIOD) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) as u8
    };
    let table = TABLE.get_or_init(|| (0..PERIOD + CHUNK_MAX).map(mixed).collect());
    let start = (peer * 104_729 + position) % PERIOD;
    &table[start..start + len]
}

/// The account of a peer.
#[derive(Debug)]
pub(crate) struct Books {
    peer: usize,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// Of messages, those that have not come back; `None` for a stream.
    messages: Option<Messages>,
    /// So much had reached the server when it was told to stop: bytes, or messages.
    due: Option<usize>,
}

#[derive(Debug, Default)]
struct Messages {
    owed: VecDeque<Range<usize>>,
    /// Where the next one begins. An empty one takes a place too.
    position: usize,
    /// Whether they may come back in another order.
    in_any_order: bool,
    sent: usize,
    received: usize,
    /// How many were sent when the last one was that was not empty.
    sent_with_bytes: usize,
}

impl Books {
    pub(crate) fn of_stream(peer: usize) -> Self {
        Self { peer, sent: 0, received: 0, messages: None, due: None }
    }

    pub(crate) fn of_messages(peer: usize, in_any_order: bool) -> Self {
        let messages = Messages { in_any_order, ..Messages::default() };
        Self { messages: Some(messages), ..Self::of_stream(peer) }
    }

    /// What the peer sends next.
    pub(crate) fn next(&self, len: usize) -> &'static [u8] {
        let position = self.messages.as_ref().map_or(self.sent, |messages| messages.position);
        content(self.peer, position, len.min(CHUNK_MAX))
    }

    /// The kernel has taken the first `count` bytes of it.
    pub(crate) fn has_sent(&mut self, count: usize) {
        self.sent += count;
        let Some(messages) = &mut self.messages else { return };
        messages.owed.push_back(messages.position..messages.position + count);
        messages.position += count + 1;
        messages.sent += 1;
        if count > 0 {
            messages.sent_with_bytes = messages.sent;
        }
    }

    /// Something came back.
    ///
    /// # Errors
    ///
    /// If it is not what is owed next.
    pub(crate) fn has_received(&mut self, data: &[u8]) -> Result<(), String> {
        let peer = self.peer;
        let Some(messages) = &mut self.messages else {
            let (from, to) = (self.received, self.received + data.len());
            self.received = to;
            if to > self.sent {
                return Err(format!("{} bytes more came back than were sent", to - self.sent));
            }
            if data != content(peer, from, data.len()) {
                return Err(format!("other bytes came back between {from} and {to}"));
            }
            return Ok(());
        };
        let is_it = |message: &Range<usize>| {
            message.len() == data.len() && content(peer, message.start, message.len()) == data
        };
        let most = if messages.in_any_order { messages.owed.len() } else { 1 };
        let Some(index) = messages.owed.iter().take(most).position(is_it) else {
            let later = messages.owed.iter().position(is_it);
            let next = messages.owed.front().map(Range::len);
            return Err(format!(
                "a message of {} bytes came back; owed is one of {next:?}, and this is number \
                 {later:?} of those that come later",
                data.len()
            ));
        };
        messages.owed.remove(index);
        messages.received += 1;
        self.received += data.len();
        Ok(())
    }

    pub(crate) fn is_owed_nothing(&self) -> bool {
        match &self.messages {
            Some(messages) => messages.owed.is_empty(),
            None => self.received == self.sent,
        }
    }

    pub(crate) fn owes_empty_message(&self) -> bool {
        let next = self.messages.as_ref().and_then(|messages| messages.owed.front());
        next.is_some_and(Range::is_empty)
    }

    /// How many messages have not come back.
    pub(crate) fn messages_owed(&self) -> usize {
        self.messages.as_ref().map_or(0, |messages| messages.owed.len())
    }

    pub(crate) fn messages_received(&self) -> usize {
        self.messages.as_ref().map_or(0, |messages| messages.received)
    }

    pub(crate) fn messages_sent(&self) -> usize {
        self.messages.as_ref().map_or(0, |messages| messages.sent)
    }

    /// The server is told to stop, and all but the last `on_the_way` bytes have reached it. Empty
    /// messages at the end are not owed: the kernel counts bytes (`FIONREAD`).
    pub(crate) fn server_stops(&mut self, on_the_way: usize) {
        self.due = Some(match &self.messages {
            Some(messages) => messages.sent_with_bytes,
            None => self.sent.saturating_sub(on_the_way),
        });
    }

    /// What is owed by a server that was told to stop, and has not come back.
    pub(crate) fn missing_in_the_end(&self) -> usize {
        let came = self.messages.as_ref().map_or(self.received, |messages| messages.received);
        self.due.unwrap_or(0).saturating_sub(came)
    }

    /// Whether everything that was ever sent had reached the server before it was told to stop.
    pub(crate) fn sent_nothing_since(&self) -> bool {
        let sent = self.messages.as_ref().map_or(self.sent, |messages| messages.sent);
        self.due == Some(sent)
    }

    pub(crate) fn describe(&self) -> String {
        match &self.messages {
            Some(messages) => {
                format!("{} of {} messages came back", messages.received, messages.sent)
            }
            None => format!("{} of {} bytes came back", self.received, self.sent),
        }
    }
}
