from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Up(_message.Message):
    __slots__ = ("hello", "frame", "chunk", "cancel", "packet")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    frame: Frame
    chunk: Chunk
    cancel: Cancel
    packet: Packet
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., packet: _Optional[_Union[Packet, _Mapping]] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("welcome", "progress", "result", "chunk", "need_key", "reject", "drain", "placed")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    NEED_KEY_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    PLACED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    progress: Progress
    result: Result
    chunk: Chunk
    need_key: NeedKey
    reject: Reject
    drain: Drain
    placed: Placed
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., need_key: _Optional[_Union[NeedKey, _Mapping]] = ..., reject: _Optional[_Union[Reject, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., placed: _Optional[_Union[Placed, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "stream", "plan", "weights", "reuse", "payload", "answer", "picture_height", "picture_width", "decoder", "dtype", "backend", "isa", "version", "budget_ms", "server_plans", "confidence", "iou", "padded", "image_height", "image_width", "epoch")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    REUSE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PICTURE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    DECODER_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_PLANS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    IOU_FIELD_NUMBER: _ClassVar[int]
    PADDED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    stream: str
    plan: str
    weights: str
    reuse: str
    payload: str
    answer: str
    picture_height: int
    picture_width: int
    decoder: str
    dtype: str
    backend: str
    isa: str
    version: str
    budget_ms: int
    server_plans: bool
    confidence: float
    iou: float
    padded: bool
    image_height: int
    image_width: int
    epoch: int
    def __init__(self, protocol: _Optional[int] = ..., stream: _Optional[str] = ..., plan: _Optional[str] = ..., weights: _Optional[str] = ..., reuse: _Optional[str] = ..., payload: _Optional[str] = ..., answer: _Optional[str] = ..., picture_height: _Optional[int] = ..., picture_width: _Optional[int] = ..., decoder: _Optional[str] = ..., dtype: _Optional[str] = ..., backend: _Optional[str] = ..., isa: _Optional[str] = ..., version: _Optional[str] = ..., budget_ms: _Optional[int] = ..., server_plans: _Optional[bool] = ..., confidence: _Optional[float] = ..., iou: _Optional[float] = ..., padded: _Optional[bool] = ..., image_height: _Optional[int] = ..., image_width: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "max_frame_bytes", "lease_ms", "dtype", "backend", "isa", "device", "version", "same_decoder", "same_compute", "latency_model")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SAME_DECODER_FIELD_NUMBER: _ClassVar[int]
    SAME_COMPUTE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MODEL_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    max_frame_bytes: int
    lease_ms: int
    dtype: str
    backend: str
    isa: str
    device: str
    version: str
    same_decoder: bool
    same_compute: bool
    latency_model: bytes
    def __init__(self, epoch: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., lease_ms: _Optional[int] = ..., dtype: _Optional[str] = ..., backend: _Optional[str] = ..., isa: _Optional[str] = ..., device: _Optional[str] = ..., version: _Optional[str] = ..., same_decoder: _Optional[bool] = ..., same_compute: _Optional[bool] = ..., latency_model: _Optional[bytes] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("seq", "epoch", "base_seq", "keyframe", "wants_answer", "picture", "motion", "masks", "payload_bytes", "payload_crc32", "budget_ms")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BASE_SEQ_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    WANTS_ANSWER_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    MOTION_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_CRC32_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    epoch: int
    base_seq: int
    keyframe: bool
    wants_answer: bool
    picture: int
    motion: bytes
    masks: bytes
    payload_bytes: int
    payload_crc32: int
    budget_ms: int
    def __init__(self, seq: _Optional[int] = ..., epoch: _Optional[int] = ..., base_seq: _Optional[int] = ..., keyframe: _Optional[bool] = ..., wants_answer: _Optional[bool] = ..., picture: _Optional[int] = ..., motion: _Optional[bytes] = ..., masks: _Optional[bytes] = ..., payload_bytes: _Optional[int] = ..., payload_crc32: _Optional[int] = ..., budget_ms: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("seq", "offset", "data")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    seq: int
    offset: int
    data: bytes
    def __init__(self, seq: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Packet(_message.Message):
    __slots__ = ("number", "keyframe", "total_bytes", "offset", "data")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    number: int
    keyframe: bool
    total_bytes: int
    offset: int
    data: bytes
    def __init__(self, number: _Optional[int] = ..., keyframe: _Optional[bool] = ..., total_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("seq", "received_bytes", "since_first_us")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIRST_US_FIELD_NUMBER: _ClassVar[int]
    seq: int
    received_bytes: int
    since_first_us: int
    def __init__(self, seq: _Optional[int] = ..., received_bytes: _Optional[int] = ..., since_first_us: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("seq", "epoch", "answer_bytes", "answer_crc32", "pixels_digest", "keyframe", "compute_ratio", "work", "upload_ms", "upload_bytes", "queue_ms", "decode_ms", "inference_ms", "answer_ms", "server_ms", "wait_ms", "credit_bytes")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CRC32_FIELD_NUMBER: _ClassVar[int]
    PIXELS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_RATIO_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_MS_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    epoch: int
    answer_bytes: int
    answer_crc32: int
    pixels_digest: int
    keyframe: bool
    compute_ratio: float
    work: float
    upload_ms: float
    upload_bytes: int
    queue_ms: float
    decode_ms: float
    inference_ms: float
    answer_ms: float
    server_ms: float
    wait_ms: float
    credit_bytes: int
    def __init__(self, seq: _Optional[int] = ..., epoch: _Optional[int] = ..., answer_bytes: _Optional[int] = ..., answer_crc32: _Optional[int] = ..., pixels_digest: _Optional[int] = ..., keyframe: _Optional[bool] = ..., compute_ratio: _Optional[float] = ..., work: _Optional[float] = ..., upload_ms: _Optional[float] = ..., upload_bytes: _Optional[int] = ..., queue_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., inference_ms: _Optional[float] = ..., answer_ms: _Optional[float] = ..., server_ms: _Optional[float] = ..., wait_ms: _Optional[float] = ..., credit_bytes: _Optional[int] = ...) -> None: ...

class NeedKey(_message.Message):
    __slots__ = ("seq", "reason", "video")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    seq: int
    reason: str
    video: bool
    def __init__(self, seq: _Optional[int] = ..., reason: _Optional[str] = ..., video: _Optional[bool] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("seq", "wait_ms")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    wait_ms: int
    def __init__(self, seq: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("moved_to", "deadline_ms")
    MOVED_TO_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    moved_to: str
    deadline_ms: int
    def __init__(self, moved_to: _Optional[str] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class Placed(_message.Message):
    __slots__ = ("address", "server_name", "epoch", "open_ms")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPEN_MS_FIELD_NUMBER: _ClassVar[int]
    address: str
    server_name: str
    epoch: int
    open_ms: int
    def __init__(self, address: _Optional[str] = ..., server_name: _Optional[str] = ..., epoch: _Optional[int] = ..., open_ms: _Optional[int] = ...) -> None: ...
