//! The pointers of the C interface, as types that can be used safely once a caller has vouched for them.
//!
//! An [`Out`] or a [`Text`] exists only as an argument of an exported `unsafe extern "C"` function. Its caller
//! promises what NVML's documentation asks: a pointer is null, or points to memory of the stated type and length
//! that nobody else uses during the call. Null is refused here, in one place.

use std::ffi::{CStr, c_char};

use nvml_wrapper_sys::bindings as nvml;

/// What a call answers; an error is an `nvmlReturn_t` other than success.
pub(crate) type Answer<T = ()> = Result<T, nvml::nvmlReturn_t>;

/// A place that the caller gives to be read or filled.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T: Copy> Out<T> {
    /// Fills the place.
    pub(crate) fn put(self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller of the exported function vouched for a writable `T` (module documentation);
        // C gives no promise about padding, hence unaligned.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// What the caller put there.
    pub(crate) fn get(self) -> Answer<T> {
        if self.0.is_null() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller of the exported function vouched for an initialised `T`, all of whose bit
        // patterns are valid: NVML's structs hold integers, floats, pointers and unions of these.
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// The place `index` elements further. Only for arrays whose length the caller stated.
    pub(crate) fn nth(self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }

    /// The same place, seen as the start of another type.
    pub(crate) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// The place `bytes` further, of another type. Only for fields of a struct that the caller gave.
    pub(crate) fn field<U>(self, bytes: usize) -> Out<U> {
        if self.0.is_null() {
            Out(std::ptr::null_mut())
        } else {
            Out(self.0.wrapping_byte_add(bytes).cast())
        }
    }

    /// Whether the caller gave no place, as it does to ask for a count.
    pub(crate) fn is_absent(self) -> bool {
        self.0.is_null()
    }
}

impl Out<c_char> {
    /// Writes `text` with its NUL into the `length` bytes that the caller gave.
    pub(crate) fn text(self, length: u32, text: &str) -> Answer {
        let room = usize::try_from(length).unwrap_or_default();
        if text.len() >= room {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
        }
        for (place, byte) in text.bytes().chain([0]).enumerate() {
            self.nth(place).put(c_char::from_ne_bytes([byte]))?;
        }
        Ok(())
    }

    /// Fills all `length` bytes and ends with no NUL: an answer that is too long.
    pub(crate) fn endless(self, length: u32) -> Answer {
        (0..usize::try_from(length).unwrap_or_default())
            .try_for_each(|place| self.nth(place).put(c_char::from_ne_bytes([b'A'])))
    }
}

/// A string that the caller gives.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// The string, if it is one.
    pub(crate) fn get<'a>(self) -> Answer<&'a str> {
        if self.0.is_null() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller of the exported function vouched for a string that ends with NUL and stays
        // as it is during the call; what is returned is not kept beyond it.
        unsafe { CStr::from_ptr(self.0) }
            .to_str()
            .map_err(|_| nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }
}

/// `NVML_STRUCT_VERSION` of a struct: its size and the number of its layout.
#[expect(clippy::as_conversions, reason = "sizes of small structs")]
pub(crate) const fn struct_version<T>(layout: u32) -> u32 {
    size_of::<T>() as u32 | (layout << 24)
}

/// Writes `text` into a fixed array of a struct, cut to fit and ended with NUL.
pub(crate) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    array
}
