//! A PKCS#11 module that forwards to another one, and fails or blocks the calls that a test names: faults come from where
//! the vendor's library stands, outside all of our code.
//!
//! `KEYWARD_PKCS11_MODULE` names the real module, `KEYWARD_PKCS11_FAULTS` the folder with the test's rules (`control.rs`).

#![expect(non_snake_case, reason = "the names are those of PKCS#11")]

mod control;

use std::{env, sync::OnceLock};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR,
    CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_OK, Pkcs11,
};

static REAL: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();
static OURS: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();

/// The module's one exported function.
///
/// # Safety
///
/// As PKCS#11 says: `list` points to where a pointer may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(real) = real() else { return CKR_GENERAL_ERROR };
    let ours = OURS.get_or_init(|| with_faults(real));
    // SAFETY: checked above; the caller only reads what it points to.
    unsafe { *list = std::ptr::from_ref(ours).cast_mut() };
    CKR_OK
}

/// The real module's functions. It stays loaded until the process ends.
fn real() -> Option<&'static CK_FUNCTION_LIST> {
    if let Some(real) = REAL.get() {
        return Some(real);
    }
    let path = env::var_os("KEYWARD_PKCS11_MODULE")?;
    let mut list = std::ptr::null_mut();
    // SAFETY: it is a PKCS#11 module, by the word of whoever set the variable.
    let listed = unsafe {
        let module = Box::leak(Box::new(Pkcs11::new(path).ok()?));
        module.C_GetFunctionList(&raw mut list)
    };
    if listed != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: the module says that this is its list.
    Some(REAL.get_or_init(|| unsafe { *list }))
}

/// Functions that do what a rule says or what the real module does.
macro_rules! functions {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
                if let Some(injected) = control::meet(stringify!($name)) {
                    return injected;
                }
                match REAL.get().and_then(|real| real.$name) {
                    // SAFETY: the arguments are the caller's, for the same function.
                    Some(function) => unsafe { function($($argument),*) },
                    None => CKR_FUNCTION_NOT_SUPPORTED,
                }
            }
        )*
    };
}

functions! {
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG);
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO);
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut std::ffi::c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE);
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, len: CK_ULONG);
    C_CreateObject(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE);
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG);
    C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_GenerateKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_GenerateRandom(session: CK_SESSION_HANDLE, bytes: *mut CK_BYTE, len: CK_ULONG);
}

/// Functions that end the operation which another one has begun.
macro_rules! operations {
    ($($name:ident;)*) => {
        $(
            unsafe extern "C" fn $name(
                session: CK_SESSION_HANDLE,
                input: *mut CK_BYTE,
                len: CK_ULONG,
                output: *mut CK_BYTE,
                output_len: *mut CK_ULONG,
            ) -> CK_RV {
                let Some(function) = REAL.get().and_then(|real| real.$name) else { return CKR_FUNCTION_NOT_SUPPORTED };
                // A question for the length of the output is not the operation.
                let injected = if output.is_null() { None } else { control::meet(stringify!($name)) };
                let Some(injected) = injected else {
                    // SAFETY: the arguments are the caller's, for the same function.
                    return unsafe { function(session, input, len, output, output_len) };
                };
                // As with a real failure the operation is over; what came of it goes nowhere.
                let mut nowhere = vec![0; usize::try_from(len).unwrap_or(0) + 4096];
                let mut room = nowhere.len() as CK_ULONG;
                // SAFETY: the buffer is as long as is said.
                unsafe { function(session, input, len, nowhere.as_mut_ptr(), &raw mut room) };
                injected
            }
        )*
    };
}

operations! {
    C_Encrypt;
    C_Decrypt;
    C_Sign;
}

fn with_faults(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    CK_FUNCTION_LIST {
        C_GetFunctionList: Some(C_GetFunctionList),
        C_GetSlotList: Some(C_GetSlotList),
        C_GetTokenInfo: Some(C_GetTokenInfo),
        C_OpenSession: Some(C_OpenSession),
        C_GetSessionInfo: Some(C_GetSessionInfo),
        C_Login: Some(C_Login),
        C_CreateObject: Some(C_CreateObject),
        C_DestroyObject: Some(C_DestroyObject),
        C_GetAttributeValue: Some(C_GetAttributeValue),
        C_FindObjectsInit: Some(C_FindObjectsInit),
        C_FindObjects: Some(C_FindObjects),
        C_EncryptInit: Some(C_EncryptInit),
        C_Encrypt: Some(C_Encrypt),
        C_DecryptInit: Some(C_DecryptInit),
        C_Decrypt: Some(C_Decrypt),
        C_SignInit: Some(C_SignInit),
        C_Sign: Some(C_Sign),
        C_GenerateKey: Some(C_GenerateKey),
        C_GenerateRandom: Some(C_GenerateRandom),
        ..*real
    }
}
