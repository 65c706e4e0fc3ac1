//! The cable between an agent and a verifier: a forwarder on loopback that can be cut, or wear out after so many bytes.
//!
//! Cutting by bytes ends a connection at any point of what is said over it (within the handshake, a report, a receipt), however slow the
//! machine is.

use crate::chance::Chance;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// How a new connection fares.
#[derive(Clone, Debug)]
enum State {
    Whole,
    /// It ends after a number of bytes, counted in both directions, drawn below this.
    Worn(Chance, u64),
    /// It is closed at once.
    Cut,
    /// The cable is taken away.
    Gone,
}

#[derive(Debug)]
struct Shared {
    state: State,
    live: Vec<TcpStream>,
    broken: u64,
}

/// A cable to a verifier.
#[derive(Debug)]
pub struct Cable {
    near: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Cable {
    /// A whole cable to `far`, an address like `127.0.0.1:8443`.
    ///
    /// # Panics
    /// Where loopback has no port left.
    #[must_use]
    pub fn to(far: &str) -> Self {
        let far: SocketAddr = far.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            state: State::Whole,
            live: Vec::new(),
            broken: 0,
        }));
        let of_listener = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut now = of_listener.lock().unwrap();
                let allowance = match &mut now.state {
                    State::Gone => return,
                    State::Cut => {
                        now.broken += 1;
                        continue;
                    }
                    State::Whole => i64::MAX,
                    State::Worn(chance, most) => i64::try_from(chance.within(0..*most)).unwrap(),
                };
                if let Ok(onward) = TcpStream::connect(far) {
                    now.live
                        .extend([stream.try_clone().unwrap(), onward.try_clone().unwrap()]);
                    join(&stream, &onward, allowance, &of_listener);
                }
            }
        });
        Self { near, shared }
    }

    /// The address of its near end.
    #[must_use]
    pub fn near(&self) -> SocketAddr {
        self.near
    }

    /// Cuts it: what is open breaks, and nothing new comes through.
    ///
    /// # Panics
    /// Never while its threads live.
    pub fn cut(&self) {
        self.turn(State::Cut);
    }

    /// From now on every new connection breaks after less than `bytes`, at a point that chance draws.
    ///
    /// # Panics
    /// As [`Cable::cut`].
    pub fn wear(&self, chance: &Chance, bytes: u64) {
        self.turn(State::Worn(chance.clone(), bytes));
    }

    /// Makes it whole.
    ///
    /// # Panics
    /// As [`Cable::cut`].
    pub fn mend(&self) {
        self.shared.lock().unwrap().state = State::Whole;
    }

    /// How many connections it broke or turned away.
    ///
    /// # Panics
    /// As [`Cable::cut`].
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.lock().unwrap().broken
    }

    fn turn(&self, state: State) {
        let mut now = self.shared.lock().unwrap();
        now.state = state;
        for stream in now.live.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.turn(State::Gone);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.near));
    }
}

fn join(near: &TcpStream, far: &TcpStream, allowance: i64, shared: &Arc<Mutex<Shared>>) {
    let left = Arc::new(AtomicI64::new(allowance));
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let (left, shared) = (Arc::clone(&left), Arc::clone(shared));
        std::thread::spawn(move || {
            let mut piece = [0; 512];
            loop {
                let count = match from.read(&mut piece) {
                    Ok(0) => return drop(to.shutdown(Shutdown::Write)),
                    Ok(count) => count,
                    Err(_) => break,
                };
                let after = left.fetch_sub(count as i64, Ordering::Relaxed) - count as i64;
                let passed = count.saturating_sub(usize::try_from(-after).unwrap_or(0));
                if to.write_all(&piece[..passed]).is_err() {
                    break;
                }
                if passed < count {
                    shared.lock().unwrap().broken += 1;
                    break;
                }
            }
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cable_carries_wears_and_is_cut() {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Cable::to(&echo.local_addr().unwrap().to_string());
        std::thread::spawn(move || {
            for mut stream in echo.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut from = stream.try_clone().unwrap();
                    std::io::copy(&mut from, &mut stream).ok();
                });
            }
        });
        let echoed = |bytes: usize| {
            let Ok(mut stream) = TcpStream::connect(cable.near()) else {
                return 0;
            };
            if stream.write_all(&vec![7; bytes]).is_err() {
                return 0;
            }
            stream.shutdown(Shutdown::Write).ok();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).ok();
            back.len()
        };
        let mut stream = TcpStream::connect(cable.near()).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        cable.cut();
        assert!(matches!(stream.read(&mut back), Ok(0) | Err(_)));
        assert_eq!(echoed(5), 0);
        cable.wear(&Chance::new("a worn cable"), 1_000);
        assert!(echoed(100_000) < 1_000);
        assert!(cable.broken() > 0);
    }
}
