//! An example daemon that takes its sockets from systemd and explains every mistake:
//!
//!     systemd-socket-activate -l 4000 target/debug/examples/activated-daemon
//!
//! It tells each client the name of the socket that it connected to.

use std::{io::Write, net::TcpListener, process::ExitCode, thread, time::Duration};

use socket_activate_echo::{activation::Inherited, error::Result};

#[expect(clippy::disallowed_methods, reason = "the library never writes there, a program may")]
fn log(message: &str) {
    // `eprintln!` would panic if standard error is closed.
    let _ = writeln!(std::io::stderr(), "activated-daemon: {message}");
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    log(&error.to_string());
    ExitCode::from(error.kind().exit_status())
}

fn run() -> Result<()> {
    for socket in Inherited::take()?.into_sockets()? {
        let name = socket.name.clone();
        let listener = socket.into_tcp_listener()?;
        thread::spawn(move || serve(&name, &listener));
    }
    loop {
        thread::park();
    }
}

fn serve(name: &str, listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok((mut client, _)) => drop(writeln!(client, "welcome to {name}")),
            // Without the pause, a lasting error (`EMFILE`: no descriptor is left) would busy-loop.
            Err(error) => {
                log(&format!("accept on {name}: {error}; trying again"));
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
