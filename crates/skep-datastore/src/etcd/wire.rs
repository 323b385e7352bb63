//! The messages of etcd's gRPC API that are used here, by field number.
//!
//! Source: `api/etcdserverpb/rpc.proto` and `api/authpb/auth.proto` of etcd 3.7. Fields that are neither set nor read
//! here are left out: protobuf skips what it does not know.

use prost::Message;

/// Answer of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// `RangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Range {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub limit: i64,
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    #[prost(bool, tag = "9")]
    pub count_only: bool,
}

/// `RangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Ranged {
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// `mvccpb.KeyValue`; the value is never read.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
}

/// `TxnRequest` with nothing to do when a comparison fails.
#[derive(Clone, PartialEq, Message)]
pub struct Transaction {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<Operation>,
}

/// `Compare`.
#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// Of a `oneof`: written even when it is 0.
    #[prost(int64, optional, tag = "6")]
    pub mod_revision: Option<i64>,
}

/// `Compare.CompareResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    Equal = 0,
}

/// `Compare.CompareTarget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    Version = 0,
    Mod = 2,
}

/// `RequestOp`.
#[derive(Clone, PartialEq, Message)]
pub struct Operation {
    #[prost(message, optional, tag = "2")]
    pub put: Option<Put>,
}

/// `PutRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Put {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `TxnResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Transacted {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
}

/// `ResponseHeader`.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// `CompactionRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Compact {
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// `DeleteRangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRange {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
}

/// `DeleteRangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Deleted {
    #[prost(int64, tag = "2")]
    pub deleted: i64,
}

/// `StatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    #[prost(int64, tag = "12")]
    pub db_size_quota: i64,
}

/// `AlarmRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmRequest {
    #[prost(enumeration = "AlarmAction", tag = "1")]
    pub action: i32,
    #[prost(uint64, tag = "2")]
    pub member: u64,
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// `AlarmRequest.AlarmAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmAction {
    Get = 0,
    Activate = 1,
    Deactivate = 2,
}

/// `AlarmType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    None = 0,
    NoSpace = 1,
    Corrupt = 2,
}

/// `AlarmResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Alarms {
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<AlarmMember>,
}

/// `AlarmMember`.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmMember {
    #[prost(uint64, tag = "1")]
    pub member: u64,
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// `AuthStatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct AuthStatus {
    #[prost(bool, tag = "2")]
    pub enabled: bool,
}

/// Requests whose only field is a name: `AuthUserGetRequest`, `AuthUserDeleteRequest`, `AuthRoleAddRequest`,
/// `AuthRoleGetRequest`, `AuthRoleDeleteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `AuthUserAddRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct UserAdd {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub options: Option<UserOptions>,
}

/// `authpb.UserAddOptions`.
#[derive(Clone, PartialEq, Message)]
pub struct UserOptions {
    #[prost(bool, tag = "1")]
    pub no_password: bool,
}

/// Answers that carry a list of names: `AuthUserGetResponse` and `AuthRoleListResponse` (roles),
/// `AuthUserListResponse` (users).
#[derive(Clone, PartialEq, Message)]
pub struct Names {
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

/// `AuthUserGrantRoleRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct GrantRole {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(string, tag = "2")]
    pub role: String,
}

/// `AuthRoleGrantPermissionRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct GrantPermission {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(message, optional, tag = "2")]
    pub permission: Option<Permission>,
}

/// `authpb.Permission`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Permission {
    #[prost(enumeration = "PermissionType", tag = "1")]
    pub kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}

/// `authpb.Permission.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PermissionType {
    Read = 0,
    Write = 1,
    ReadWrite = 2,
}

/// `AuthRoleGetResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Role {
    #[prost(message, repeated, tag = "2")]
    pub permissions: Vec<Permission>,
}

/// `AuthRoleRevokePermissionRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct RevokePermission {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}

/// `AuthUserRevokeRoleRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct RevokeRole {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(string, tag = "2")]
    pub role: String,
}
