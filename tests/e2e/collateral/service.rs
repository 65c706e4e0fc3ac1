//! A service of manifests and an OCSP responder on loopback, over plain HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Answers {
    /// By path, or by the request's body.
    bodies: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What any request is answered with, where it is not 200.
    status: Option<&'static str>,
    asked: Vec<Vec<u8>>,
    headers: Vec<String>,
}

/// The service. What it does not know it answers with 404.
pub(crate) struct Service {
    at: SocketAddr,
    answers: Arc<Mutex<Answers>>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(Answers::default()));
        let shared = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answers = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &answers));
            }
        });
        Self { at, answers }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Answers a path, or a body, with this.
    pub(crate) fn give(&self, asked: &[u8], body: &[u8]) {
        self.answers
            .lock()
            .unwrap()
            .bodies
            .insert(asked.to_vec(), body.to_vec());
    }

    /// Answers everything with this status.
    pub(crate) fn fail(&self, status: Option<&'static str>) {
        self.answers.lock().unwrap().status = status;
    }

    /// What was asked since the last time: paths, and bodies of POST requests.
    pub(crate) fn asked(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.answers.lock().unwrap().asked)
    }

    /// All header lines so far.
    pub(crate) fn headers(&self) -> Vec<String> {
        self.answers.lock().unwrap().headers.clone()
    }
}

/// Answers requests until the line breaks.
fn serve(stream: &TcpStream, answers: &Mutex<Answers>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut out = stream.try_clone().ok()?;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        let request = head.first()?.clone();
        let length = head.iter().find_map(|l| l.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        let asked = if request.starts_with("post ") {
            body
        } else {
            request.split(' ').nth(1)?.as_bytes().to_vec()
        };
        let (status, body) = {
            let mut answers = answers.lock().unwrap();
            answers.headers.extend(head);
            let found = answers
                .bodies
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(&asked));
            let found = found.map(|(_, body)| body.clone());
            answers.asked.push(asked);
            match (answers.status, found) {
                (Some(status), _) => (status, Vec::new()),
                (None, Some(body)) => ("200 OK", body),
                (None, None) => ("404 Not Found", Vec::new()),
            }
        };
        let place = if status.starts_with('3') {
            "location: http://127.0.0.1:9/\r\n"
        } else {
            ""
        };
        write!(
            out,
            "HTTP/1.1 {status}\r\n{place}content-length: {}\r\n\r\n",
            body.len()
        )
        .ok()?;
        out.write_all(&body).ok()?;
    }
}
