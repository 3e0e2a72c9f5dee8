//! Clients that we know: they connect from here, and verify the echo.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use super::case::Miss;
use super::engine::Running;
use crate::activator::Bound;
use crate::address::Address;
use crate::client::{Deadline, Exchange, Pattern, connect};
use crate::error::Error;

/// A message of a client; it fits into a packet of every kind of socket.
const SIZE: usize = 64;

/// A client that has sent a message and waits for its echo.
pub(super) struct Client {
    address: Address,
    exchange: Exchange,
    message: Vec<u8>,
}

impl Client {
    /// Connects to the socket and sends: nobody has to serve it yet.
    pub(super) fn new(socket: &Bound, timeout: Duration) -> Result<Self, Miss> {
        let address = socket.address().map(Address::to_client);
        let address = address.ok_or_else(|| Miss::Skip(format!("{socket}: no address")))?;
        let connection = connect(&address, timeout).map_err(not_here)?;
        let exchange = Exchange { connection, timeout };
        let message = Pattern::random(SIZE).at(0, SIZE).to_vec();
        exchange
            .connection
            .try_send(&message)
            .map_err(|error| Miss::Skip(format!("send to {address}: {error}")))?;
        Ok(Self { address, exchange, message })
    }

    /// Waits for the echo of the message, and verifies it.
    pub(super) fn echoed_by(&mut self, running: &mut Running<'_>) -> Result<(), Miss> {
        running.answers(&self.exchange.connection)?;
        let (echo, _) = self
            .exchange
            .echo(&self.message, Some(self.message.len()))
            .map_err(|failure| Miss::Fail(Error::from(failure).to_string()))?;
        if echo == self.message {
            return Ok(());
        }
        Err(Miss::Fail(format!("{}: the echo differs from what was sent", self.address)))
    }

    /// Sends the message once more, and verifies the echo.
    pub(super) fn again(&mut self, running: &mut Running<'_>) -> Result<(), Miss> {
        let address = &self.address;
        let sent = self.exchange.connection.try_send(&self.message);
        sent.map_err(|error| Miss::Fail(format!("send to {address}: {error}")))?;
        self.echoed_by(running)
    }

    /// Waits for the end of the connection.
    pub(super) fn ended(&self, timeout: Duration) -> io::Result<bool> {
        let connection = &self.exchange.connection;
        let length = connection.receive(&mut [0; SIZE], Deadline::after(timeout))?;
        Ok(length == 0)
    }
}

/// Makes traffic on the socket, for an engine that starts its program only then. It lasts as long
/// as the client.
pub(super) fn knock(socket: &Bound, timeout: Duration) -> Result<Client, Miss> {
    Client::new(socket, timeout)
}

fn not_here(failure: crate::client::Failure) -> Miss {
    Miss::Skip(Error::from(failure).to_string())
}

/// Our end of a connection whose other end is handed over.
pub(super) struct OurEnd(Socket);

impl OurEnd {
    /// Sends the question at once, so that an engine which waits for traffic starts.
    pub(super) fn new(socket: Socket, timeout: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        (&socket).write_all(&[b'?'; SIZE])?;
        Ok(Self(socket))
    }

    /// Verifies the echo, ends the stream, and waits for the end of the other one.
    pub(super) fn echoed_by(&self, running: &mut Running<'_>) -> Result<(), Miss> {
        running.answers(&self.0)?;
        let mut echo = [0; SIZE];
        let words = running.last_words();
        let failed = |what, error: io::Error| Miss::Fail(format!("{what}: {error}; {words}"));
        (&self.0).read_exact(&mut echo).map_err(|error| failed("receive the echo", error))?;
        if echo != [b'?'; SIZE] {
            return Err(Miss::Fail("the echo differs from what was sent".to_owned()));
        }
        self.0.shutdown(Shutdown::Write).map_err(|error| failed("end the stream", error))?;
        match (&self.0).read(&mut echo).map_err(|error| failed("receive the end", error))? {
            0 => Ok(()),
            more => Err(Miss::Fail(format!("{more} more bytes came than were sent"))),
        }
    }
}
