"""The protocol: `offload.proto`, and the code that protoc makes of it.

python -m grpc_tools.protoc -I fluxshard/cloud/wire/proto --python_out=fluxshard/cloud/wire/proto \
        --pyi_out=fluxshard/cloud/wire/proto offload.proto
"""
