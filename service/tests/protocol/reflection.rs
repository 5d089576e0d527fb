use super::channel;
use keypool_service::testing::server::TestServer;
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

async fn ask(server: &TestServer, question: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(channel(server).await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let server = TestServer::start().await;
    let answer = ask(&server, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let services: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["keypool.v1.KeyPackageService", "keypool.v1.AuditService", "grpc.health.v1.Health"]
    {
        assert!(services.contains(&name), "{services:?}");
    }
}

#[tokio::test]
async fn reflection_describes_a_service() {
    let server = TestServer::start().await;
    let symbol = "keypool.v1.KeyPackageService".to_owned();
    let answer = ask(&server, MessageRequest::FileContainingSymbol(symbol)).await;
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
    let files = files.file_descriptor_proto.iter();
    let methods: Vec<String> = files
        .flat_map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap().service)
        .flat_map(|service| service.method)
        .map(|method| method.name().to_owned())
        .collect();
    assert!(methods.contains(&"ReserveKeyPackages".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn older_tools_find_reflection_too() {
    use v1alpha::{
        server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = TestServer::start().await;
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, MessageResponse::ListServicesResponse(_)), "{answer:?}");
}
