//! Names the socket of an event.

/// The socket of an event: its kind, and its number among the sockets of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Connection(u32),
    Listener(u32),
    Datagram(u32),
    Shutdown,
    Bell,
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        let (kind, number) = match token {
            Token::Connection(number) => (0, number),
            Token::Listener(number) => (1, number),
            Token::Datagram(number) => (2, number),
            Token::Shutdown => (3, 0),
            Token::Bell => (4, 0),
        };
        kind << 32 | Self::from(number)
    }
}

impl From<u64> for Token {
    fn from(value: u64) -> Self {
        let number = value as u32;
        match value >> 32 {
            0 => Self::Connection(number),
            1 => Self::Listener(number),
            2 => Self::Datagram(number),
            3 => Self::Shutdown,
            _ => Self::Bell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for number in [0, 7, u32::MAX] {
            for token in [
                Token::Connection(number),
                Token::Listener(number),
                Token::Datagram(number),
                Token::Shutdown,
                Token::Bell,
            ] {
                assert_eq!(Token::from(u64::from(token)), token);
            }
        }
    }
}
