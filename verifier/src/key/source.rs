//! Where a private key is: in a file, or in a token.
//!
//! Decides: how a key that is named on the command line is reached. Does not establish whose it is.

use super::pkcs11::{Tokens, is_uri};
use super::{read_public, secret};
use crate::command::CommandError;
use crate::config::Config;
use std::path::{Path, PathBuf};
use weighbridge::crypto::{PublicKey, Signer};

/// Private keys by their names: files as `key new` makes them, and URIs of keys in tokens.
#[derive(Debug)]
pub(crate) struct Keys<'c> {
    tokens: Tokens<'c>,
}

impl<'c> Keys<'c> {
    pub(crate) fn new(config: &'c Config) -> Self {
        Self {
            tokens: Tokens::new(config),
        }
    }

    /// The keys of these names, ready to sign.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) fn signers(&self, named: &[PathBuf]) -> Result<Vec<Box<dyn Signer>>, CommandError> {
        named.iter().map(|name| self.signer(name)).collect()
    }

    fn signer(&self, name: &Path) -> Result<Box<dyn Signer>, CommandError> {
        Ok(match is_uri(name) {
            Some(uri) => Box::new(self.tokens.key(uri)?),
            None => Box::new(secret(name)?),
        })
    }

    /// The public half of a key of this name, private or public.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) fn public(&self, name: &Path) -> Result<PublicKey, CommandError> {
        match is_uri(name) {
            Some(uri) => Ok(self.tokens.public(uri)?),
            None => {
                read_public(name).or_else(|e| secret(name).map(|k| k.public_key().clone()).map_err(|_| e))
            }
        }
    }
}

/// The keys as what signs with them.
pub(crate) fn borrowed(keys: &[Box<dyn Signer>]) -> Vec<&dyn Signer> {
    keys.iter().map(|k| &**k).collect()
}
