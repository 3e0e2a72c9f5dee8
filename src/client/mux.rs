//! The handshake of a vsock multiplexer: `CONNECT PORT`, answered with `OK PORT`.

use super::{Connection, Deadline, Failure, Symptom};

/// More than any answer: `OK ` and a number of 32 bits.
const ANSWER_MAX: usize = 32;

/// Asks the multiplexer for the guest's `port`. Reads up to the end of its line and no further,
/// so that what follows is the guest's first byte.
pub(super) fn handshake(
    connection: &Connection,
    port: u32,
    deadline: Deadline,
) -> Result<(), Failure> {
    let address = connection.address();
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
    connection.send(format!("CONNECT {port}\n").as_bytes(), deadline).map_err(failure)?;
    let mut answer = Vec::with_capacity(ANSWER_MAX);
    while answer.last() != Some(&b'\n') && answer.len() < ANSWER_MAX {
        let mut byte = [0];
        if connection.receive(&mut byte, deadline).map_err(failure)? == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    match verdict(&answer) {
        Ok(()) => Ok(()),
        Err(Symptom::MuxRefused) => Err(Failure::new(
            Symptom::MuxRefused,
            address,
            format!("{attempted}: the multiplexer closed the connection"),
        )),
        Err(symptom) => Err(Failure::new(
            symptom,
            address,
            format!("{attempted}: `OK PORT` was expected, `{}` came", answer.escape_ascii()),
        )),
    }
}

/// Whether the answer is `OK` and a number. Firecracker's is the port on the host's side, so it
/// need not be the one that was asked for.
fn verdict(answer: &[u8]) -> Result<(), Symptom> {
    if answer.is_empty() {
        return Err(Symptom::MuxRefused);
    }
    let port = std::str::from_utf8(answer)
        .ok()
        .and_then(|text| text.strip_suffix('\n'))
        .and_then(|line| line.strip_prefix("OK "))
        .and_then(|port| port.trim_end_matches('\r').parse::<u32>().ok());
    port.map(|_| ()).ok_or(Symptom::MuxGarbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_and_a_port_is_ok() {
        for (answer, expected) in [
            (&b"OK 3000\n"[..], Ok(())),
            (b"OK 1073741824\n", Ok(())),
            (b"", Err(Symptom::MuxRefused)),
            (b"OK 3000", Err(Symptom::MuxGarbled)),
            (b"OK\n", Err(Symptom::MuxGarbled)),
            (b"OK -1\n", Err(Symptom::MuxGarbled)),
            (b"CONNECT 3000\n", Err(Symptom::MuxGarbled)),
            (b"\xff\n", Err(Symptom::MuxGarbled)),
        ] {
            assert_eq!(verdict(answer), expected, "{}", answer.escape_ascii());
        }
    }
}
