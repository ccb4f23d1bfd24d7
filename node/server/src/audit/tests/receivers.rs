use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use super::*;

fn socket_config(kind: &str, address: &str) -> DeviceConfig {
    let options = json!({"socket_type": kind, "address": address, "write_timeout": "200ms"});
    config(json!({"type": "socket", "options": options}))
}

/// The next `count` lines.
fn lines(stream: impl std::io::Read, count: usize) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    for _ in 0..count {
        reader.read_line(&mut text).expect("the sender is alive");
    }
    text
}

#[tokio::test]
async fn lines_arrive_over_tcp_and_again_after_the_receiver_was_restarted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let audit = audit_of(&socket_config("tcp", &address)).await;
    audit.request(&record("1")).await.unwrap();
    let (stream, _) = listener.accept().unwrap();
    let first = lines(&stream, 2);
    assert_eq!(ids(&first), ["1"]);
    drop((stream, listener));
    // The first write after the end of the connection is noticed, too.
    pause(Duration::from_millis(50)).await;
    assert!(audit.request(&record("2")).await.is_err());
    let listener = TcpListener::bind(&address).unwrap();
    until_taken(&audit, "3").await;
    let (stream, _) = listener.accept().unwrap();
    let second = lines(&stream, 2);
    assert_eq!(ids(&second), ["3"]);
    let expectation = Expectation { from_start: true, ..Expectation::default() };
    let report =
        conclave_core::audit::verify(&mut [first, second].concat().as_bytes(), expectation);
    assert_eq!(report.unwrap().fault, None);
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let audit = audit_of(&socket_config("tcp", &address)).await;
    let clock = system::ports().clock;
    let body = format!("{{\"a\":[{}1]}}", "1,".repeat(15_000)).into_bytes();
    let request = RequestPart { body: &body, ..record("1").request };
    let big = Record { request, ..record("1") };
    for _ in 0..100 {
        let before = clock.monotonic();
        let outcome = audit.request(&big).await;
        assert!(clock.monotonic() - before < Duration::from_secs(4));
        if outcome.is_err() {
            assert!(audit.blocked_for().is_some());
            return;
        }
    }
    panic!("somebody has read it: {listener:?}");
}

#[tokio::test]
async fn lines_arrive_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let audit = audit_of(&socket_config("unix", path.to_str().unwrap())).await;
    assert!(audit.request(&record("1")).await.is_err(), "nobody is there");
    let listener = UnixListener::bind(&path).unwrap();
    until_taken(&audit, "2").await;
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(ids(&lines(&stream, 2)), ["2"]);
    drop(stream);
    audit.request(&record("3")).await.unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(ids(&lines(&stream, 1)), ["3"]);
}

#[tokio::test]
async fn lines_arrive_in_datagrams() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let audit = audit_of(&socket_config("udp", &receiver.local_addr().unwrap().to_string())).await;
    audit.request(&record("1")).await.unwrap();
    let mut text = String::new();
    for _ in 0..2 {
        let mut bytes = [0; 65_536];
        let count = receiver.recv(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert_eq!(ids(&text), ["1"]);
    // What is longer than a datagram has one hash for its body.
    let body = format!("{{\"a\":[{}1]}}", "1,".repeat(10_000)).into_bytes();
    let request = RequestPart { body: &body, ..record("2").request };
    audit.request(&Record { request, ..record("2") }).await.unwrap();
    let mut bytes = [0; 65_536];
    let count = receiver.recv(&mut bytes).unwrap();
    let line: Value = serde_json::from_slice(&bytes[..count]).unwrap();
    assert_eq!(line["request"]["data_form"], "too long for one line");
}

#[tokio::test]
async fn the_system_log_gets_rfc_5424_and_may_be_started_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let options = json!({"socket": path, "facility": "LOCAL3", "tag": "vault-1"});
    let audit = audit_of(&config(json!({"type": "syslog", "options": options}))).await;
    audit.request(&record("1")).await.unwrap();
    let message = |receiver: &UnixDatagram| {
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 65_536];
        let count = receiver.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let mut lines = String::new();
    for _ in 0..2 {
        let message = message(&receiver);
        let fields: Vec<_> = message.splitn(8, ' ').collect();
        assert_eq!(
            (fields[0], fields[3], fields[5], fields[6]),
            ("<158>1", "vault-1", "audit", "-")
        );
        assert!(fields[1].ends_with('Z') && fields[4] == std::process::id().to_string());
        assert!(fields[7].starts_with('{') && fields[7].ends_with('}'));
        lines = [lines.as_str(), message.as_str(), "\n"].concat();
    }
    let expectation = Expectation {
        prefix: conclave_core::audit::Prefix::Any,
        from_start: true,
        ..Expectation::default()
    };
    let report = conclave_core::audit::verify(&mut lines.as_bytes(), expectation).unwrap();
    assert_eq!((report.fault, report.lines), (None, 2));
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    let receiver = UnixDatagram::bind(&path).unwrap();
    audit.request(&record("2")).await.unwrap();
    assert!(message(&receiver).contains("\"id\":\"2\""));
}

#[tokio::test]
async fn closing_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let audit = audit_of(&socket_config("tcp", &address)).await;
    audit.request(&record("1")).await.unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    drop(audit);
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(ids(&text.await.unwrap().unwrap()), ["1"], "the last reference ends the writer");
}
