//! A daemon of your own that takes its sockets from systemd, with every mistake explained:
//!
//!     systemd-socket-activate -l 4000 target/debug/examples/activated-daemon
//!
//! It tells each client which socket it came in through.

use std::{io::Write, net::TcpListener, process::ExitCode};

use socket_activate_echo::activation::{Family, Inherited, Service};
use socket_activate_echo::error::{Error, ErrorKind, Result};

#[expect(clippy::disallowed_methods, reason = "the library never writes there, a program may")]
fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "activated-daemon: {error}");
    ExitCode::from(error.kind().exit_status())
}

fn run() -> Result<()> {
    for socket in Inherited::take()?.into_sockets()? {
        let is_ip = matches!(socket.kind.family, Family::Inet | Family::Inet6);
        if !is_ip || socket.service != Service::StreamListener {
            let message = format!("{} is no TCP listener", socket.name);
            return Err(Error::new(ErrorKind::Descriptor, message).remedy("use ListenStream=PORT"));
        }
        let listener = TcpListener::from(socket.fd);
        let name = socket.name;
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = writeln!(client, "welcome to {name}");
            }
        });
    }
    loop {
        std::thread::park();
    }
}
