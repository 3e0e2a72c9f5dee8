//! Arguments that no load has, and servers that do not echo.

use super::{bench, document};
use crate::kit::Dir;

#[test]
fn what_fails_is_said_in_the_document_too() {
    let missing = Dir::new().path("none");
    let missing = format!("unix:{}", missing.display());
    for (arguments, status, word) in [
        ("tcp:127.0.0.1:1", 6, "Connection refused"),
        (missing.as_str(), 6, "No such file"),
        ("-m idle tcp:127.0.0.1:1", 6, "Connection refused"),
        ("-m flood tcp:127.0.0.1:1", 2, "datagrams"),
        ("-m cold -r 1 --run /no/such/program", 127, "/no/such/program"),
        ("-m cold -r 1 -t 0.2 --run /bin/true", 7, "/bin/true"),
    ] {
        let document = document(arguments, status);
        assert_eq!(document["exit_status"], status, "{arguments}: {document:#}");
        let error = document["error"].as_str().unwrap_or_default();
        assert!(error.contains(word), "{arguments}: {document:#}");
    }
    let output = bench("--json tcp:127.0.0.1:1");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.contains("Connection refused"), "people are told as before: {line}");
}
