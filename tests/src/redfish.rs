//! A management controller that speaks Redfish over TLS on loopback, and misbehaves on request.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use weighbridge::crypto::sha256;
use weighbridge::id::Digest;

/// What it says to whoever asks.
#[derive(Clone, Debug)]
pub enum Says {
    /// This resource.
    Resource(String),
    /// A resource without end.
    Endless,
    /// Nothing: it takes the question and holds the line.
    Nothing,
    /// A status other than 200, with a redirection's address.
    Status(u16),
}

impl Says {
    /// An `EnvironmentMetrics` with this many watts.
    #[must_use]
    pub fn watts(watts: f64) -> Self {
        Self::Resource(format!(
            r##"{{"@odata.type":"#EnvironmentMetrics.v1_3_0.EnvironmentMetrics","PowerWatts":{{"Reading":{watts}}}}}"##
        ))
    }
}

/// The controller.
#[derive(Debug)]
pub struct Redfish {
    at: SocketAddr,
    /// The authority that vouches for it, in PEM.
    pub authority: String,
    /// SHA-256 of its certificate.
    pub certificate: Digest,
    says: Arc<Mutex<Says>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Redfish {
    /// A controller that speaks this version of TLS.
    ///
    /// # Panics
    /// Where loopback has no port left.
    #[must_use]
    pub fn start(version: &'static SupportedProtocolVersion, says: Says) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let controller = Self {
            at: listener.local_addr().unwrap(),
            authority,
            certificate: sha256(certificate.der()),
            says: Arc::new(Mutex::new(says)),
            heard: Arc::default(),
        };
        let (tls, says, heard) = (
            Arc::new(tls),
            Arc::clone(&controller.says),
            Arc::clone(&controller.heard),
        );
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let (tls, says, heard) = (Arc::clone(&tls), Arc::clone(&says), Arc::clone(&heard));
                std::thread::spawn(move || serve(tcp, tls, &says, &heard));
            }
        });
        controller
    }

    /// From now on it says something else.
    ///
    /// # Panics
    /// Never, while no other thread panics.
    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// The address of its resource.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/redfish/v1/Chassis/1/EnvironmentMetrics", self.at)
    }

    /// The heads of the questions so far.
    ///
    /// # Panics
    /// Never, while no other thread panics.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Answers one connection until it ends. A broken line ends it.
fn serve(
    tcp: TcpStream,
    tls: Arc<ServerConfig>,
    says: &Mutex<Says>,
    heard: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(tls).ok()?, tcp);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        heard
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(&head).into_owned());
        let now = says.lock().unwrap().clone();
        match now {
            Says::Resource(body) => write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .ok()?,
            Says::Endless => {
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
                loop {
                    stream.write_all(&[b' '; 4096]).ok()?;
                }
            }
            // Until the other end gives up.
            Says::Nothing => drop(stream.read(&mut [0])),
            Says::Status(status) => write!(
                stream,
                "HTTP/1.1 {status} Other\r\nlocation: https://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n"
            )
            .ok()?,
        }
        stream.flush().ok()?;
    }
}
