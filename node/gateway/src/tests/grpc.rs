//! The gRPC door.

use std::convert::Infallible;
use std::task::{Context, Poll};

use conclave_proto::ErrorCode;
use conclave_proto::v1::kv_client::KvClient;
use conclave_proto::v1::logical_client::LogicalClient;
use conclave_proto::v1::operator_client::OperatorClient;
use conclave_proto::v1::session_client::SessionClient;
use conclave_proto::v1::{self as wire};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;
use tonic::{Code, Request, Status};

use super::support::{ALL_CODES, Bench, spawn};
use crate::wire_code;

/// One HTTP/2 connection as the transport of generated clients.
#[derive(Clone)]
pub(super) struct Wire(http2::SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Wire {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().unwrap().as_str();
        *request.uri_mut() = format!("https://conclave{path}").parse().unwrap();
        self.0.send_request(request).boxed()
    }
}

pub(super) async fn wire(bench: &Bench) -> Wire {
    let io = TokioIo::new(bench.connect());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    spawn(Box::pin(async move {
        let _ = connection.await;
    }));
    Wire(sender)
}

pub(super) fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer hvs.t".parse().unwrap());
    request
}

pub(super) fn code_of(status: &Status) -> ErrorCode {
    let number = status.metadata().get("conclave-error").expect("the code travels");
    ErrorCode::from_wire(number.to_str().unwrap().parse().unwrap()).unwrap()
}

fn logical(operation: wire::Operation, path: &str) -> wire::LogicalRequest {
    wire::LogicalRequest { operation: operation.into(), path: path.into(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn logical_asks_what_http_would_ask() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    let mut request = with_token(wire::LogicalRequest {
        body: r#"{"a":1}"#.into(),
        namespace: "team/".into(),
        query: [("version".to_owned(), "2".to_owned())].into(),
        request_id: Some(wire::RequestTag { session: "s".into(), sequence: 4, low_water: 3 }),
        read_level: Some(wire::ReadLevel { kind: Some(wire::read_level::Kind::AtRevision(9)) }),
        ..logical(wire::Operation::Write, "echo/a")
    });
    request.set_timeout(std::time::Duration::from_secs(5));
    let response = client.call(request).await.unwrap().into_inner();
    assert_eq!(response.revision, 7);
    assert_eq!(response.request_id, "00000000-0000-0000-0000-000000000001");
    let told: serde_json::Value = serde_json::from_slice(&response.data).unwrap();
    assert_eq!(
        told,
        serde_json::json!({
            "operation": "update", "path": "echo/a", "namespace": "team/", "token": "hvs.t",
            "body": r#"{"a":1}"#, "query": {"version": "2"}, "client": "192.0.2.7",
            "sequence": 4, "read_level": "AtRevision(9)", "time_limit_ms": 5000,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn every_error_carries_its_code() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    for code in ALL_CODES {
        let request = logical(wire::Operation::Read, &format!("errors/{code:?}"));
        let status = client.call(request).await.unwrap_err();
        assert_eq!(code_of(&status), wire_code(code));
        assert_eq!(status.code(), wire_code(code).grpc_code());
        assert_eq!(status.message(), "what went wrong; what to do");
    }
}

/// HTTP answers it beside the error; a client that has only the error would lose it.
#[tokio::test(start_paused = true)]
async fn what_stands_beside_an_error_goes_along() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    let told = |status: &Status| {
        let data = status.metadata().get_bin("conclave-error-data-bin")?;
        Some(serde_json::from_slice::<serde_json::Value>(&data.to_bytes().unwrap()).unwrap())
    };
    let ask = |path: &str| logical(wire::Operation::Read, path);
    let deleted = client.call(ask("secret/data/deleted")).await.unwrap_err();
    assert_eq!(code_of(&deleted), ErrorCode::NotFound);
    assert_eq!(told(&deleted).unwrap()["metadata"]["version"], 3);
    let hint = client.call(ask("secret/app")).await.unwrap_err();
    assert_eq!(told(&hint), Some(serde_json::Value::Null));
    let missing = client.call(ask("nothing")).await.unwrap_err();
    assert_eq!(told(&missing), None);
    // More than a client takes in a head is left out, and the error still arrives.
    let large = client.call(ask("errors/large-data")).await.unwrap_err();
    assert_eq!((code_of(&large), told(&large)), (ErrorCode::NotFound, None));
}

#[tokio::test(start_paused = true)]
async fn both_doors_refuse_the_same() {
    let bench = Bench::new();
    let mut client = LogicalClient::new(wire(&bench).await);
    for path in ["", "/", "a//b", "/a", "a/../b", "a/%2e%2e/b", "a\u{0}b", r"a\..\b"] {
        let status = client.call(logical(wire::Operation::Read, path)).await.unwrap_err();
        assert_eq!(code_of(&status), ErrorCode::InvalidRequest, "{path}");
    }
    for body in ["[]", "{", "{\"a\":1,\"a\":2}"] {
        let mut request = logical(wire::Operation::Write, "echo/a");
        request.body = body.into();
        let status = client.call(request).await.unwrap_err();
        assert_eq!(code_of(&status), ErrorCode::InvalidRequest, "{body}");
    }
    let status = client.call(logical(wire::Operation::Unspecified, "echo/a")).await.unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::InvalidRequest);
    let mut request = logical(wire::Operation::Write, "echo/a");
    request.request_id = Some(wire::RequestTag::default());
    assert_eq!(client.call(request).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(bench.fake.calls.load(std::sync::atomic::Ordering::SeqCst), 0);
    let status = client.call(logical(wire::Operation::Write, "panic")).await.unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::Internal);
    let status = client.call(logical(wire::Operation::Read, "panic")).await.unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::Internal);
}

#[tokio::test(start_paused = true)]
async fn large_messages_are_refused_before_they_are_held() {
    let bench = Bench::with(|config, _| config.request_bytes_max = 100_000);
    let mut client = LogicalClient::new(wire(&bench).await);
    let mut request = logical(wire::Operation::Write, "echo/a");
    request.body = vec![b' '; 200_000].into();
    let status = client.call(request).await.unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn kv_is_typed() -> Result<(), Status> {
    let bench = Bench::new();
    let mut kv = KvClient::new(wire(&bench).await);
    let (mount, path) = ("secret".to_owned(), "app".to_owned());
    let put = wire::KvPutRequest {
        mount: mount.clone(),
        path: path.clone(),
        data: r#"{"a":"b"}"#.into(),
        cas: Some(1),
        request_id: None,
    };
    let response = kv.put(with_token(put.clone())).await?.into_inner();
    assert_eq!((response.version, response.revision), (2, 7));
    assert_eq!(response.created_time, "2026-11-25T00:00:00Z");
    // Data that is no whole object cannot reach into the body around it.
    let status =
        kv.put(wire::KvPutRequest { data: "{},\"x\":{}".into(), ..put }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let get = wire::KvGetRequest { mount: "secret/".into(), path, ..Default::default() };
    let response = kv.get(get.clone()).await?.into_inner();
    assert_eq!((&response.data[..], response.version), (&br#"{"a":"b"}"#[..], 2));
    let deleted = wire::KvGetRequest { path: "deleted".into(), ..get.clone() };
    let response = kv.get(deleted).await?.into_inner();
    assert_eq!((response.data.len(), response.version), (0, 3));
    assert_eq!(response.deletion_time, "2026-11-25T00:00:01Z");
    let missing = wire::KvGetRequest { path: "missing".into(), ..get.clone() };
    assert_eq!(kv.get(missing).await.unwrap_err().code(), Code::NotFound);
    let elsewhere = wire::KvGetRequest { path: "hint".into(), ..get.clone() };
    assert_eq!(kv.get(elsewhere).await.unwrap_err().code(), Code::NotFound);
    for bad in [
        wire::KvGetRequest { mount: String::new(), ..get.clone() },
        wire::KvGetRequest { path: String::new(), ..get.clone() },
        wire::KvGetRequest { path: "../metadata/app".into(), ..get },
    ] {
        assert_eq!(kv.get(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }

    let list = wire::KvListRequest { mount: mount.clone(), ..Default::default() };
    assert_eq!(kv.list(list).await?.into_inner().keys, ["app", "dir/"]);
    let delete = wire::KvDeleteRequest { mount, path: "app".into(), ..Default::default() };
    assert_eq!(kv.delete(delete).await?.into_inner().revision, 8);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn kv_names_the_paths_that_http_names() -> Result<(), Status> {
    let bench = Bench::new();
    let mut kv = KvClient::new(wire(&bench).await);
    // The echo answers without the fields that gRPC carries, which is then a fault of ours; what
    // it was asked shows in the calls that need none.
    let delete = wire::KvDeleteRequest {
        mount: "echo".into(),
        path: "a/b".into(),
        versions: vec![1, 2],
        ..Default::default()
    };
    assert_eq!(kv.delete(delete).await?.into_inner().revision, 7);
    let put = wire::KvPutRequest { mount: "echo".into(), path: "a".into(), ..Default::default() };
    assert_eq!(code_of(&kv.put(put).await.unwrap_err()), ErrorCode::Internal);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn operator_and_session_speak_for_the_node() -> Result<(), Status> {
    let bench = Bench::new();
    let transport = wire(&bench).await;
    let mut operator = OperatorClient::new(transport.clone());
    let status = operator.status(wire::NodeStatusRequest {}).await?.into_inner();
    assert_eq!((status.node_name.as_str(), status.leader_id, status.sealed), ("one", 1, false));
    assert_eq!(status.reason, "");
    bench.fake.set(|status| status.reason = "rejoin it".into());
    let status = operator.status(wire::NodeStatusRequest {}).await?.into_inner();
    assert_eq!(status.reason, "rejoin it");
    let init = wire::InitRequest { secret_shares: 5, secret_threshold: 3 };
    let response = operator.init(init).await?.into_inner();
    assert_eq!(
        (&response.keys[0][..], response.root_token.as_str()),
        (&[1, 2, 255][..], "hvs.root")
    );
    let init = wire::InitRequest { secret_shares: 300, secret_threshold: 3 };
    assert_eq!(operator.init(init).await.unwrap_err().code(), Code::InvalidArgument);
    operator.unseal(wire::UnsealRequest { key: vec![7].into(), reset: false }).await?;
    let empty = wire::UnsealRequest::default();
    assert_eq!(operator.unseal(empty).await.unwrap_err().code(), Code::InvalidArgument);
    operator.seal(wire::SealRequest {}).await?;
    operator.step_down(wire::StepDownRequest {}).await?;
    let members = operator.members(wire::MembersRequest {}).await?.into_inner();
    assert_eq!((members.index, members.members[0].node_id), (5, 1));
    assert_eq!((members.epoch, members.backup_key.as_str()), (3, "ab"));
    let member = &members.members[0];
    assert_eq!((member.cluster_addr.as_str(), member.applied_index), ("one:8201", 40));
    assert!(member.reachable && member.unfit && !member.sealed);
    assert_eq!(member.state_hash.as_ref(), [1, 2]);
    let grant = operator.create_join_token(wire::CreateJoinTokenRequest { ttl_ms: 1 }).await?;
    assert_eq!(grant.into_inner().ttl_ms, 600_000);
    operator.remove_member(wire::RemoveMemberRequest { server_id: "two".into() }).await?;
    let join = wire::JoinClusterRequest { join_token: "jt".into(), ..Default::default() };
    operator.join_cluster(join).await?;
    let asked = bench.fake.ceremonies.lock().unwrap().last().cloned().unwrap();
    assert_eq!(asked, "join None Some(\"jt\") false");
    operator.promote_member(wire::PromoteMemberRequest { server_id: "two".into() }).await?;
    operator.demote_member(wire::DemoteMemberRequest { server_id: "two".into() }).await?;

    let mut session = SessionClient::new(transport);
    let opened = session.open(wire::SessionOpenRequest { ttl_ms: 5000 }).await?.into_inner();
    assert_eq!((&opened.session[..], opened.ttl_ms), (&b"sess"[..], 5000));
    session.close(wire::SessionCloseRequest { session: opened.session }).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn http_is_served_over_http_2_as_well() -> Result<(), Infallible> {
    let bench = Bench::new();
    let mut wire = wire(&bench).await;
    let request = http::Request::get("/v1/secret/data/app").body(Body::empty()).unwrap();
    let response = tower_service::Service::call(&mut wire, request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-conclave-revision"], "7");
    let request = http::Request::builder().method("LIST").uri("/v1/secret/metadata");
    let request = request.body(Body::empty()).unwrap();
    let response = tower_service::Service::call(&mut wire, request).await.unwrap();
    assert_eq!(response.status(), 200);
    Ok(())
}
