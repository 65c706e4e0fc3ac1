//! NVML's functions, by subject. Their signatures are those of `nvml-wrapper-sys`, so that layouts are honest.

/// Defines exported functions that pass one of the gates of [`crate::session`].
macro_rules! calls {
    (device: $($gate:ident $name:ident($gpu:ident $(, $arg:ident: $type:ty)* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            device: nvml_wrapper_sys::bindings::nvmlDevice_t $(, $arg: $type)*
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            $crate::session::code($crate::session::$gate(stringify!($name), device, |$gpu| $body))
        }
    )*};
    (system: $($name:ident($call:ident $(, $arg:ident: $type:ty)* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            $crate::session::code($crate::session::system_call(stringify!($name), |$call| $body))
        }
    )*};
}

mod confidential;
mod events;
mod fields;
mod gpm;
mod identity;
mod library;
mod links;
mod mig;
mod processes;
mod telemetry;
