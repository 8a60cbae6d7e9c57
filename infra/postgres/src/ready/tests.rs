//! Reading the server's log.

use super::{Refusal, last_words};

#[test]
fn the_reason_of_a_failed_start_is_read() {
    let log = "LOG:  starting\nLOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\n\
               FATAL:  could not create any TCP/IP sockets\nLOG:  database system is shut down\n";
    assert_eq!(Refusal::read(log), Refusal::PortTaken);
    assert_eq!(
        last_words(log),
        "FATAL:  could not create any TCP/IP sockets"
    );
    assert_eq!(
        Refusal::read("FATAL:  pre-existing shared memory block (key 1) is still in use"),
        Refusal::Orphans
    );
    assert_eq!(Refusal::read("FATAL:  no such setting"), Refusal::Other);
    assert_eq!(last_words(""), "its log is empty");
}
