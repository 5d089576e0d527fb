"""A back end that invites every device of a user, and knows what went wrong."""

import os
import sys
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from keypool.v1 import error_reason_pb2 as reasons
from keypool.v1 import key_package_service_pb2 as messages
from keypool.v1 import key_package_service_pb2_grpc as services
from keypool.v1 import reservation_pb2 as reservations

ENDPOINT = os.environ.get("KEYPOOL_ENDPOINT", "http://127.0.0.1:50051").removeprefix("http://")


def reason(error: grpc.RpcError) -> str:
    """The ErrorReason of a failed call, without its prefix."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "keypool":
            return info.reason
    return error.code().name


def invite(keypool: services.KeyPackageServiceStub, user_id: str, group_id: bytes) -> None:
    # One id for all tries: a lost answer loses no package.
    reservation_id = str(uuid.uuid4())
    reserved = keypool.ReserveKeyPackages(
        messages.ReserveKeyPackagesRequest(
            reservation_id=reservation_id,
            group_id=group_id,
            targets=[reservations.Target(user_id=user_id)],
            cipher_suites=[1],
        ),
        timeout=5,
    )
    for missing in reserved.missing:
        name = reasons.ErrorReason.Name(missing.reason)
        print(f"not invited: {missing.user_id}/{missing.device_id}: {name}")
    packages = reserved.reservation.packages
    for package in packages:
        print(f"{package.name.device_id}: {len(package.key_package)} bytes of KeyPackage")

    # ... verify the packages, and make the commit and the Welcome from them ...

    # The fence: publish the Welcome only if this succeeds.
    keypool.SpendReservation(
        messages.SpendReservationRequest(
            reservation_id=reservation_id,
            group_id=group_id,
            packages=[package.name for package in packages],
        ),
        timeout=5,
    )
    print(f"{len(packages)} spent: the Welcome may go out")


def main() -> int:
    with grpc.insecure_channel(ENDPOINT) as channel:
        try:
            invite(services.KeyPackageServiceStub(channel), sys.argv[1], b"group 1")
        except grpc.RpcError as error:
            print(f"{reason(error)}: {error.details()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
