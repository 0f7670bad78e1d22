// State: registers per flow, counters, hashes, random numbers, digests, checksums over the payload, truncation.
#include <core.p4>
#include <v1model.p4>

header request_t {
    bit<8> op;
    bit<8> arg;
    bit<16> index;
    bit<32> value;
}
header sum_t { bit<16> sum; }
struct headers_t { request_t req; sum_t sum; }
struct learn_t { bit<8> op; bit<32> value; }
struct meta_t { bit<1> summed; }

register<bit<32>>(8) cells;

parser P(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    state start {
        packet.extract(hdr.req);
        transition accept;
    }
}
control V(inout headers_t hdr, inout meta_t meta) { apply { } }

control Bump(inout bit<32> value)(bit<32> size) {
    register<bit<16>>(size) seen;
    apply {
        bit<16> n;
        @atomic {
            seen.read(n, value);
            n = n + 1;
            seen.write(value, n);
        }
        value = (bit<32>) n;
    }
}

control I(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    counter(4, CounterType.packets_and_bytes) by_op;
    meter(4, MeterType.bytes) rate;
    register<int<8>>(2) signed_cells;
    Bump(4) small;
    Bump(16) large;
    action write() { cells.write((bit<32>) hdr.req.index, hdr.req.value); }
    apply {
        sm.egress_spec = 1;
        by_op.count((bit<32>) hdr.req.op);
        if (hdr.req.op == 0) {
            cells.read(hdr.req.value, (bit<32>) hdr.req.index);
        } else if (hdr.req.op == 1) {
            write();
        } else if (hdr.req.op == 2) {
            small.apply(hdr.req.value);
        } else if (hdr.req.op == 3) {
            large.apply(hdr.req.value);
        } else if (hdr.req.op == 4) {
            hash(hdr.req.value, HashAlgorithm.crc32, 32w0, { hdr.req.index, hdr.req.arg }, 33w0x100000000);
        } else if (hdr.req.op == 5) {
            hash(hdr.req.value, HashAlgorithm.crc16, 32w5, { hdr.req.index }, 32w10);
        } else if (hdr.req.op == 6) {
            hash(hdr.req.value, HashAlgorithm.identity, 32w0, { hdr.req.arg[3:0], hdr.req.index }, 32w0x100000);
        } else if (hdr.req.op == 17) {
            hash(hdr.req.value, HashAlgorithm.xor16, 32w0, { hdr.req.index, hdr.req.arg, hdr.req.index }, 32w0x10000);
        } else if (hdr.req.op == 16) {
            hash(hdr.req.value, HashAlgorithm.identity, 32w0, { hdr.req.index, hdr.req.value, hdr.req.index, hdr.req.arg },
                 65w0x10000000000000000);
        } else if (hdr.req.op == 7) {
            hash(hdr.req.value, HashAlgorithm.xor16, 32w7, { hdr.req.index, hdr.req.arg }, 32w0);
        } else if (hdr.req.op == 8) {
            random(hdr.req.value, 32w10, (bit<32>) hdr.req.arg);
        } else if (hdr.req.op == 9) {
            digest<learn_t>(1, { hdr.req.op, hdr.req.value });
            log_msg("value is {}", { hdr.req.value });
            log_msg("plain");
        } else if (hdr.req.op == 10) {
            meta.summed = 1;
            hdr.sum.setValid();
        } else if (hdr.req.op == 11) {
            truncate((bit<32>) hdr.req.index);
        } else if (hdr.req.op == 12) {
            rate.execute_meter<bit<32>>((bit<32>) hdr.req.index, hdr.req.value);
        } else if (hdr.req.op == 13) {
            hdr.req.value = sm.packet_length ^ (bit<32>) sm.ingress_global_timestamp;
        } else if (hdr.req.op == 14) {
            sm.mcast_grp = hdr.req.index;
        } else if (hdr.req.op == 15) {
            int<8> v;
            signed_cells.read(v, 1);
            signed_cells.write(1, v - 1);
            hdr.req.value = (bit<32>) (int<32>) v;
        }
    }
}
control E(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    apply {
        if (sm.instance_type == 5) {
            hdr.req.arg = (bit<8>) sm.egress_rid;
        }
    }
}
control C(inout headers_t hdr, inout meta_t meta) {
    apply {
        update_checksum_with_payload(meta.summed == 1, { hdr.req.op, hdr.req.arg, hdr.req.index, hdr.req.value },
            hdr.sum.sum, HashAlgorithm.csum16);
    }
}
control D(packet_out packet, in headers_t hdr) { apply { packet.emit(hdr); } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
