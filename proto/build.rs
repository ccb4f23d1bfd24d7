//! Compiles `conclave/v1/*.proto` with protox, so that no system `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 3] =
        ["conclave/v1/storage.proto", "conclave/v1/peer.proto", "conclave/v1/client.proto"];
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        // They carry a client's token and values in clear.
        .skip_debug(["conclave.v1.ForwardedRequest", "conclave.v1.ForwardedReply"])
        .compile_fds(descriptors)?;
    Ok(())
}
