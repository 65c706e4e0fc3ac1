//! Keys in tokens: smart cards and security modules, spoken to over PKCS#11.
//!
//! Decides: which token and which key in it a URI names; one that several answer to is refused. What the token signs is verified with its public
//! key before it is used. Trusts the module, which runs in this process: whoever names its file answers for it. Does not establish that a key
//! cannot leave its token.

use super::uri::{SCHEME, Uri};
use crate::config::{self, Config};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use weighbridge::bounded;
use weighbridge::crypto::{self, Algorithm, PublicKey, SignError, Signer};
use zeroize::Zeroizing;

/// The longest PIN that is read, in bytes.
const MAX_PIN: usize = 256;
/// `CKA_EC_PARAMS` of P-256: its object identifier (RFC 5480).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `CKA_EC_PARAMS` of Ed25519: its object identifier (RFC 8410), or its name as PKCS#11 3.0 has it.
const ED25519: [&[u8]; 2] = [
    &[0x06, 0x03, 0x2b, 0x65, 0x70],
    &[
        0x13, 0x0c, b'e', b'd', b'w', b'a', b'r', b'd', b's', b'2', b'5', b'5', b'1', b'9',
    ],
];

/// Why a key in a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The URI names nothing.
    #[error("the PKCS#11 URI cannot be used: {why}")]
    Uri {
        /// What is wrong.
        why: String,
    },
    /// No module is named.
    #[error(
        "no module is named that speaks to the token: give --pkcs11-module FILE, the library that came with it"
    )]
    NoModule,
    /// The module cannot be used.
    #[error("{module} is no PKCS#11 module that can be used", module = module.display())]
    Module {
        /// Its file.
        module: PathBuf,
        /// Why not.
        #[source]
        source: Error,
    },
    /// No token, or more than one, answers to the URI.
    #[error("{count} tokens answer to the URI, and one must: there are {there}")]
    Tokens {
        /// How many.
        count: usize,
        /// The labels of all tokens.
        there: String,
    },
    /// No key, or more than one, answers to the URI.
    #[error("{count} {half} keys of token `{token}` answer to the URI, and one must")]
    Objects {
        /// How many.
        count: usize,
        /// Private or public.
        half: &'static str,
        /// The token's label.
        token: String,
    },
    /// The key is of another kind.
    #[error("the key in the token is neither of P-256 nor of Ed25519, and no other signs documents")]
    Algorithm,
    /// There is no PIN.
    #[error(
        "the token asks for a PIN: give a file that holds it, with --pkcs11-pin-file or `pin-source` in the URI, or {variable} in the environment, or answer on a terminal",
        variable = config::PIN
    )]
    NoPin,
    /// The PIN's file cannot be read.
    #[error("the PIN's file {file} cannot be read", file = file.display())]
    PinFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: bounded::BoundedReadError,
    },
    /// The PIN is not the token's.
    #[error("token `{token}` does not take the PIN, and locks itself after some more that are wrong")]
    WrongPin {
        /// The token's label.
        token: String,
    },
    /// The token failed.
    #[error("token `{token}` could not {what}")]
    Failed {
        /// The token's label.
        token: String,
        /// Do what.
        what: &'static str,
        /// Why not.
        #[source]
        source: Error,
    },
}

/// The URI of a key in a token, if a name is one.
pub(super) fn is_uri(name: &Path) -> Option<&str> {
    name.to_str().filter(|n| n.starts_with(SCHEME))
}

/// The modules that were opened, each once.
#[derive(Debug)]
pub(super) struct Tokens<'c> {
    config: &'c Config,
    modules: RefCell<HashMap<PathBuf, Pkcs11>>,
}

/// A session with the token that a URI names.
struct Opened {
    session: Session,
    info: TokenInfo,
}

/// A key in a token.
#[derive(Debug)]
pub(super) struct TokenKey {
    public: PublicKey,
    private: ObjectHandle,
    token: String,
    session: Mutex<Session>,
}

impl<'c> Tokens<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self {
            config,
            modules: RefCell::default(),
        }
    }

    /// The public half of a key; no PIN is asked for.
    pub(super) fn public(&self, uri: &str) -> Result<PublicKey, TokenError> {
        let uri = Uri::parse(uri)?;
        self.open(&uri)?.public(&uri)
    }

    /// A key, ready to sign.
    pub(super) fn key(&self, uri: &str) -> Result<TokenKey, TokenError> {
        let uri = Uri::parse(uri)?;
        let opened = self.open(&uri)?;
        let public = opened.public(&uri)?;
        opened.log_in(&uri, self.config)?;
        Ok(TokenKey {
            public,
            private: opened.object(&uri, ObjectClass::PRIVATE_KEY, "private")?,
            token: opened.info.label().to_owned(),
            session: Mutex::new(opened.session),
        })
    }

    fn module(&self, uri: &Uri) -> Result<Pkcs11, TokenError> {
        let named = uri.module.as_deref().or_else(|| self.config.pkcs11_module.file());
        let path = named.ok_or(TokenError::NoModule)?.to_owned();
        if let Some(open) = self.modules.borrow().get(&path) {
            return Ok(open.clone());
        }
        let unusable = |source| TokenError::Module {
            module: path.clone(),
            source,
        };
        let module = Pkcs11::new(&path).map_err(unusable)?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match module.initialize(arguments) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(source) => return Err(unusable(source)),
        }
        self.modules.borrow_mut().insert(path, module.clone());
        Ok(module)
    }

    fn open(&self, uri: &Uri) -> Result<Opened, TokenError> {
        let module = self.module(uri)?;
        let failed = |what| {
            move |source| TokenError::Failed {
                token: uri.token.clone().unwrap_or_default(),
                what,
                source,
            }
        };
        let slots = module.get_slots_with_token().map_err(failed("be listed"))?;
        let infos: Vec<(Slot, TokenInfo)> = slots
            .into_iter()
            .filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)))
            .filter(|(_, info)| info.token_initialized())
            .collect();
        let there: Vec<String> = infos.iter().map(|(_, i)| format!("`{}`", i.label())).collect();
        let mut meant: Vec<_> = infos.into_iter().filter(|(_, info)| uri.is_token(info)).collect();
        let count = meant.len();
        match (meant.pop(), count) {
            (Some((slot, info)), 1) => {
                let session = module.open_ro_session(slot).map_err(failed("open a session"))?;
                Ok(Opened { session, info })
            }
            _ => Err(TokenError::Tokens {
                count,
                there: if there.is_empty() {
                    "none".to_owned()
                } else {
                    there.join(", ")
                },
            }),
        }
    }
}

impl Uri {
    fn is_token(&self, info: &TokenInfo) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|w| w == is);
        same(&self.token, info.label())
            && same(&self.manufacturer, info.manufacturer_id())
            && same(&self.model, info.model())
            && same(&self.serial, info.serial_number())
    }
}

impl Opened {
    fn failed(&self, what: &'static str) -> impl FnOnce(Error) -> TokenError + use<> {
        let token = self.info.label().to_owned();
        move |source| TokenError::Failed { token, what, source }
    }

    fn object(&self, uri: &Uri, class: ObjectClass, half: &'static str) -> Result<ObjectHandle, TokenError> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(uri.object.clone().map(Attribute::Label));
        template.extend(uri.id.clone().map(Attribute::Id));
        let found = self
            .session
            .find_objects(&template)
            .map_err(self.failed("list its keys"))?;
        match found.as_slice() {
            [one] => Ok(*one),
            others => Err(TokenError::Objects {
                count: others.len(),
                half,
                token: self.info.label().to_owned(),
            }),
        }
    }

    fn public(&self, uri: &Uri) -> Result<PublicKey, TokenError> {
        let object = self.object(uri, ObjectClass::PUBLIC_KEY, "public")?;
        let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
        let found = self
            .session
            .get_attributes(object, &wanted)
            .map_err(self.failed("show its public key"))?;
        let (mut curve, mut point) = (Vec::new(), Vec::new());
        for attribute in found {
            match attribute {
                Attribute::EcParams(bytes) => curve = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        public_key(&curve, &point).ok_or(TokenError::Algorithm)
    }

    fn log_in(&self, uri: &Uri, config: &Config) -> Result<(), TokenError> {
        if !self.info.login_required() {
            return Ok(());
        }
        let pin = match self.info.protected_authentication_path() {
            // The token has a keyboard of its own.
            true => None,
            false => Some(AuthPin::from(pin(uri, config, self.info.label())?.as_str())),
        };
        match self.session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
                Err(TokenError::WrongPin {
                    token: self.info.label().to_owned(),
                })
            }
            Err(source) => Err(self.failed("let the user in")(source)),
        }
    }
}

/// The key of a curve and a point, which stands in an OCTET STRING, or bare as some tokens have it.
fn public_key(curve: &[u8], point: &[u8]) -> Option<PublicKey> {
    let (algorithm, length) = match curve {
        P256 => (Algorithm::EcdsaP256, 65),
        c if ED25519.contains(&c) => (Algorithm::Ed25519, 32),
        _ => return None,
    };
    let raw = match point {
        [0x04, n, raw @ ..] if usize::from(*n) == length && raw.len() == length => raw,
        bare => bare,
    };
    PublicKey::from_raw(algorithm, raw).ok()
}

/// The PIN: from the file that the URI or the configuration names, from the environment, or from whoever sits at the terminal.
fn pin(uri: &Uri, config: &Config, token: &str) -> Result<Zeroizing<String>, TokenError> {
    if let Some(file) = uri.pin.as_deref().or_else(|| config.pkcs11_pin_file.file()) {
        let text = File::open(file)
            .map_err(bounded::BoundedReadError::from)
            .and_then(|f| bounded::read_text(f, MAX_PIN))
            .map(Zeroizing::new);
        let text = text.map_err(|source| TokenError::PinFile {
            file: file.to_owned(),
            source,
        })?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    match config::pin() {
        Some(pin) => Ok(pin),
        None => asked(token).map_err(|_| TokenError::NoPin),
    }
}

/// Asks whoever sits at the terminal; what is typed is not shown.
fn asked(token: &str) -> std::io::Result<Zeroizing<String>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let token: String = token.chars().filter(|c| !c.is_control()).collect();
    write!(terminal, "PIN of token {token}: ")?;
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut typed = Zeroizing::new(String::new());
    let most = u64::try_from(MAX_PIN).unwrap_or(u64::MAX);
    let read = BufReader::new(terminal.try_clone()?.take(most)).read_line(&mut typed);
    tcsetattr(&terminal, OptionalActions::Flush, &shown)?;
    writeln!(terminal)?;
    read?;
    Ok(Zeroizing::new(typed.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Signer for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = match self.public.algorithm() {
            Algorithm::Ed25519 => {
                let pure = EddsaParams::new(EddsaSignatureScheme::Pure);
                session.sign(&Mechanism::Eddsa(pure), self.private, message)
            }
            _ => session.sign(&Mechanism::Ecdsa, self.private, &crypto::sha256(message).0),
        };
        let failed = |why: String| SignError {
            reason: format!("token `{}` {why}", self.token),
        };
        let signature = signature.map_err(|e| failed(format!("signs nothing: {e}")))?;
        // Where private and public half do not belong together, nobody could verify what is signed.
        match self.public.verify(message, &signature) {
            Ok(()) => Ok(signature),
            Err(e) => Err(failed(format!(
                "made a signature that its own public key does not verify: {e}"
            ))),
        }
    }
}
