//! A node that reaches its verifier only through a proxy, by CONNECT.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, must, said, wait_for};
use weighbridge_testbed::stored;

/// `weigh:bridge`, as Basic authentication (RFC 7617) writes it.
const CREDENTIALS: &str = "Basic d2VpZ2g6YnJpZGdl";

/// Whom a proxy lets through.
#[derive(Clone, Copy)]
enum Admits {
    Everyone,
    TheKnown,
    Nobody,
}

/// A proxy on loopback that keeps what it was asked for.
struct Proxy {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(admits: Admits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, admits, &kept));
            }
        });
        Self { at, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers one request, and carries what follows both ways. A broken line ends it.
fn serve(near: &TcpStream, admits: Admits, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(near.take(8 << 10));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let request = head.first()?.clone();
    asked.lock().unwrap().push(request.clone());
    let known = || {
        head.iter().any(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            name.eq_ignore_ascii_case("proxy-authorization") && value == CREDENTIALS
        })
    };
    let (mut to_near, mut from_near) = (near.try_clone().ok()?, near.try_clone().ok()?);
    let answer = match admits {
        Admits::Nobody => "403 Forbidden",
        Admits::TheKnown if !known() => "407 Proxy Authentication Required",
        Admits::TheKnown | Admits::Everyone => "200 Connection established",
    };
    write!(to_near, "HTTP/1.1 {answer}\r\n\r\n").ok()?;
    if !answer.starts_with("200") {
        return None;
    }
    let far = TcpStream::connect(request.split(' ').nth(1)?).ok()?;
    let (mut to_far, mut from_far) = (far.try_clone().ok()?, far);
    std::thread::spawn(move || std::io::copy(&mut from_far, &mut to_near));
    std::io::copy(&mut from_near, &mut to_far).ok()?;
    to_far.shutdown(std::net::Shutdown::Both).ok()
}

/// A verifier, and a node with a proxy of this address.
fn stage(dir: &std::path::Path, proxy: &str) -> (Verifier, Agent) {
    let mut verifier = Verifier::init(dir);
    let terms = licence::Terms {
        report_seconds: 1,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let agent = Agent::new(dir, "node", "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n");
    let mut config = std::fs::OpenOptions::new()
        .append(true)
        .open(&agent.config)
        .unwrap();
    writeln!(config, "proxy = \"{proxy}\"").unwrap();
    (verifier, agent)
}

#[test]
fn a_node_enrols_and_reports_through_a_proxy_with_and_without_credentials() {
    for (admits, user) in [(Admits::Everyone, ""), (Admits::TheKnown, "weigh:bridge@")] {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::start(admits);
        let (verifier, mut agent) = stage(dir.path(), &format!("http://{user}{}", proxy.at));
        agent.enrol(&verifier.token("harbour-1", &[]));
        agent.run();
        wait_for("a report", || stored::counts(&verifier.state).first().copied());
        let asked = proxy.asked();
        assert!(asked.len() >= 2, "enrolment and delivery: {asked:?}");
        let wanted = format!("CONNECT {} HTTP/1.1", verifier.listen);
        assert!(asked.iter().all(|request| *request == wanted), "{asked:?}");
    }
}

#[test]
fn a_proxy_that_refuses_is_named_without_what_it_was_told() {
    for (admits, user) in [(Admits::Nobody, ""), (Admits::TheKnown, "weigh:wrong@")] {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::start(admits);
        let (verifier, agent) = stage(dir.path(), &format!("http://{user}{}", proxy.at));
        let refused = agent
            .command()
            .args(["enrol", &verifier.token("harbour-1", &[])])
            .output()
            .unwrap();
        let text = said(&refused);
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(
            text.contains(&format!("through the proxy http://{}", proxy.at)),
            "{text}"
        );
        assert!(!text.contains("wrong"), "{text}");
        // The verifier itself is there: without the proxy it answers.
        must(
            agent
                .command()
                .args(["--proxy", "", "enrol", &verifier.token("harbour-1", &[])]),
        );
    }
}
