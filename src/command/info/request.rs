//! Whether a question is an HTTP request, so that curl and a browser understand the answer. Of the
//! request only its first line is read: RFC 9112, section 3.

/// RFC 9110, section 9.1, and RFC 5789.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The first bytes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// A request of HTTP.
    Http { is_head: bool },
    /// Anything else.
    Other,
    /// It may become one, if more comes.
    Incomplete,
}

impl Request {
    /// What the bytes are. `is_whole`: there will not be more.
    pub(super) fn of(bytes: &[u8], is_whole: bool) -> Self {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        if end.is_none() && !is_whole {
            return if may_become_http(bytes) { Self::Incomplete } else { Self::Other };
        }
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words: Vec<_> = line.splitn(4, |&byte| byte == b' ').collect();
        match words[..] {
            [method, [_, ..], [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']]
                if METHODS.iter().any(|known| known.as_bytes() == method) =>
            {
                Self::Http { is_head: method == b"HEAD" }
            }
            _ => Self::Other,
        }
    }

    /// The answer in the form of the request.
    pub(super) fn response(self, document: String) -> Vec<u8> {
        let Self::Http { is_head } = self else { return document.into_bytes() };
        let head = format!(
            "HTTP/1.1 200 OK\r\n\
             Content-Type: application/json\r\n\
             Content-Length: {}\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            document.len()
        );
        let body = if is_head { "" } else { &document };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

/// Whether bytes without a newline are the beginning of a request.
fn may_become_http(bytes: &[u8]) -> bool {
    let is_text = || bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\r');
    let begins = |method: &&str| {
        let begin = format!("{method} ");
        begin.as_bytes().starts_with(bytes) || bytes.starts_with(begin.as_bytes())
    };
    METHODS.iter().any(begins) && is_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_first_line() {
        const GET: Request = Request::Http { is_head: false };
        const HEAD: Request = Request::Http { is_head: true };
        for (bytes, so_far, whole) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], GET, GET),
            (b"GET / HTTP/1.0\n", GET, GET),
            (b"HEAD /x?y HTTP/1.1\r\n", HEAD, HEAD),
            (b"POST * HTTP/1.1\r\n\r\nbody", GET, GET),
            (b"GET / HTTP/1.1", Request::Incomplete, GET),
            (b"GET / HTTP/1.1\r", Request::Incomplete, GET),
            (b"GET /", Request::Incomplete, Request::Other),
            (b"G", Request::Incomplete, Request::Other),
            (b"GET", Request::Incomplete, Request::Other),
            (b"get / HTTP/1.1\r\n", Request::Other, Request::Other),
            (b"GETS", Request::Other, Request::Other),
            (b"GET /\x1b", Request::Other, Request::Other),
            (b"GET / HTTP/2\r\n", Request::Other, Request::Other),
            (b"GET  HTTP/1.1\r\n", Request::Other, Request::Other),
            (b"GET / HTTP/1.1 x\r\n", Request::Other, Request::Other),
            (b"GET /\n", Request::Other, Request::Other),
            (b"PRI * HTTP/2.0\r\n", Request::Other, Request::Other),
            (b"hello", Request::Other, Request::Other),
            (b"\r\n", Request::Other, Request::Other),
            (b"\xff\0", Request::Other, Request::Other),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(Request::of(bytes, false), so_far, "{text:?}");
            assert_eq!(Request::of(bytes, true), whole, "{text:?}");
        }
        assert_eq!(Request::of(b"", true), Request::Other);
    }

    #[test]
    fn a_response_has_the_length_of_its_body() {
        for (is_head, body) in [(true, ""), (false, "{}\n")] {
            let response = Request::Http { is_head }.response("{}\n".to_owned());
            let response = String::from_utf8(response).expect("text");
            let (head, rest) = response.split_once("\r\n\r\n").expect("an empty line");
            assert_eq!(rest, body);
            assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 3\r\n"));
        }
        assert_eq!(Request::Other.response("{}\n".to_owned()), b"{}\n");
    }
}
