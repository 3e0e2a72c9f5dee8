//! The handshake of a vsock multiplexer: `CONNECT PORT`, answered with `OK PORT`.

use super::{Connection, Deadline, Failure, Symptom};

/// More than any valid answer: `OK ` and a 32-bit number.
const ANSWER_MAX: usize = 32;

/// Asks the multiplexer for the guest's `port`. Reads only to the end of the answer line, because
/// the next byte is from the guest.
pub(super) fn handshake(
    connection: &Connection,
    port: u32,
    deadline: Deadline,
) -> Result<(), Failure> {
    let address = &connection.address;
    let attempted = format!("CONNECT {port} on {address}");
    let failure = |error: std::io::Error| {
        let symptom = match error.kind() {
            std::io::ErrorKind::TimedOut => Symptom::ConnectTimeout,
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                Symptom::MuxRefused
            }
            _ => Symptom::of_connect(address, &error),
        };
        Failure::new(symptom, address, attempted.clone()).because(error)
    };
    // This fits in the empty send buffer of a new connection.
    connection.try_send(format!("CONNECT {port}\n").as_bytes()).map_err(failure)?;
    let mut answer = Vec::with_capacity(ANSWER_MAX);
    while answer.last() != Some(&b'\n') && answer.len() < ANSWER_MAX {
        let mut byte = [0];
        if connection.receive(&mut byte, deadline).map_err(failure)? == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    let (symptom, seen) = match answer.as_slice() {
        answer if is_ok(answer) => return Ok(()),
        [] => (Symptom::MuxRefused, "the multiplexer closed the connection".to_owned()),
        _ => {
            let came = answer.escape_ascii();
            (Symptom::MuxGarbled, format!("`OK PORT` was expected, `{came}` came"))
        }
    };
    Err(Failure::new(symptom, address, format!("{attempted}: {seen}")))
}

/// Whether the answer is `OK` and a number. Firecracker answers with the host's port, so the number
/// may differ from the requested port.
fn is_ok(answer: &[u8]) -> bool {
    std::str::from_utf8(answer)
        .ok()
        .and_then(|text| text.strip_suffix('\n')?.strip_prefix("OK "))
        .is_some_and(|port| port.trim_end_matches('\r').parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_and_a_port_is_ok() {
        for answer in [&b"OK 3000\n"[..], b"OK 1073741824\n", b"OK 1\r\n"] {
            assert!(is_ok(answer), "{}", answer.escape_ascii());
        }
        for answer in [&b""[..], b"OK 3000", b"OK\n", b"OK -1\n", b"CONNECT 3000\n", b"\xff\n"] {
            assert!(!is_ok(answer), "{}", answer.escape_ascii());
        }
    }
}
