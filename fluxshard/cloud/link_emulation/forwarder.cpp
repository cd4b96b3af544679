// Carries packets between a server and its edges through TUN interfaces, at a rate, with delay, a queue and loss.
//
//   forwarder RATES DELAY_UP_MS DELAY_DOWN_MS QUEUE_BYTES LOSS SEED SERVER_NETNS EDGE_NETNS...
//
// RATES is a file with the rate of each second in Mbit/s, looped. All edges share the way up: one queue, one rate. The
// way down has only delay; packets go to the edge whose address ends in its number plus 2. "ready" is printed once
// packets are carried; on SIGTERM, what was carried, as JSON. At the end of standard input, namespaces are removed.

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr int kLargest = 2048;  // bytes of a packet; the interfaces' MTU is 1500
constexpr int kBatch = 64;      // packets taken from one interface before the others have their turn
constexpr size_t kWaiting = 1 << 16;

struct Packet {
  double due;
  int to;
  std::string bytes;
};

struct Direction {
  std::deque<Packet> waiting;
  uint64_t packets = 0, bytes = 0;
};

volatile sig_atomic_t stopped = 0;

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

[[noreturn]] void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

// The interface belongs to the namespace that this process is in when it is made, and stays there.
int open_tun(const std::string& netns) {
  const std::string path = "/run/netns/" + netns;
  const int space = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET)) fail(path.c_str());
  close(space);
  const int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) fail("/dev/net/tun");
  ifreq request = {};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  strcpy(request.ifr_name, "link0");
  if (ioctl(tun, TUNSETIFF, &request)) fail("TUNSETIFF");
  return tun;
}

class Bottleneck {
 public:
  Bottleneck(std::vector<double> mbps, double start) : mbps_(std::move(mbps)), start_(start), free_(start) {}

  // Bytes that wait for the link at a time.
  double queued(double at) const {
    double bytes = 0;
    for (double t = at; t < free_;) {
      const double end = std::min(free_, second_end(t));
      bytes += (end - t) * rate(t);
      t = end;
    }
    return bytes;
  }

  // When the last byte of a packet that comes at a time has gone out.
  double send(double at, double bytes) {
    double t = std::max(free_, at);
    for (;;) {
      const double end = second_end(t), can = (end - t) * rate(t);
      if (bytes <= can) break;
      bytes -= can;
      t = end;
    }
    return free_ = t + bytes / rate(t);
  }

 private:
  uint64_t second(double t) const { return uint64_t(std::max(0.0, t - start_) + 1e-9); }
  double second_end(double t) const { return start_ + double(second(t) + 1); }
  double rate(double t) const { return mbps_[second(t) % mbps_.size()] * 125e3; }

  const std::vector<double> mbps_;
  const double start_;
  double free_;
};

void deliver(Direction& way, double time, const std::vector<int>& tuns) {
  while (!way.waiting.empty() && way.waiting.front().due <= time) {
    const Packet& packet = way.waiting.front();
    // a packet that an interface refuses is lost, as one that a host is too busy to take
    if (write(tuns[size_t(packet.to)], packet.bytes.data(), packet.bytes.size()) > 0) {
      way.packets++;
      way.bytes += packet.bytes.size();
    }
    way.waiting.pop_front();
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 9) return 2;
  std::vector<double> mbps;
  std::ifstream file(words[1]);
  for (double rate; file >> rate;) mbps.push_back(rate);
  if (mbps.empty()) {
    fprintf(stderr, "no rates in %s\n", words[1]);
    return 1;
  }
  const double delay_up = atof(words[2]) / 1e3, delay_down = atof(words[3]) / 1e3;
  const double queue = atof(words[4]), loss = atof(words[5]);
  uint64_t random = uint64_t(atoll(words[6]));
  std::vector<int> tuns;  // the server's is the first
  for (int word = 7; word < count; word++) tuns.push_back(open_tun(words[word]));
  signal(SIGTERM, [](int) { stopped = 1; });
  signal(SIGINT, SIG_IGN);  // of the terminal, which is for what uses the link
  sched_param urgent = {};
  urgent.sched_priority = 50;
  sched_setscheduler(0, SCHED_FIFO, &urgent);  // what is measured must not delay its link; where it is not allowed, it may
  puts("ready");
  fflush(stdout);

  Bottleneck bottleneck(mbps, now());
  Direction up, down;
  uint64_t dropped = 0, lost = 0, strays = 0;
  std::vector<pollfd> polled;
  for (const int tun : tuns) polled.push_back({tun, POLLIN, 0});
  polled.push_back({0, POLLIN, 0});
  char bytes[kLargest];
  while (!stopped) {
    double wait = 1;
    for (const Direction* way : {&up, &down})
      if (!way->waiting.empty()) wait = std::min(wait, std::max(0.0, way->waiting.front().due - now()));
    const timespec limit = {time_t(wait), long((wait - double(time_t(wait))) * 1e9)};
    if (ppoll(polled.data(), polled.size(), &limit, nullptr) < 0 && errno != EINTR) fail("ppoll");
    if (polled.back().revents) {
      char ignored;
      if (read(0, &ignored, 1) <= 0) {  // whoever started this is gone without removing the namespaces
        for (int word = 7; word < count; word++) {
          const std::string path = std::string("/run/netns/") + words[word];
          umount2(path.c_str(), MNT_DETACH);
          unlink(path.c_str());
        }
        return 0;
      }
    }
    deliver(up, now(), tuns);
    deliver(down, now(), tuns);
    for (size_t from = 0; from < tuns.size(); from++) {
      if (!polled[from].revents) continue;
      for (int index = 0; index < kBatch; index++) {
        const ssize_t size = read(tuns[from], bytes, kLargest);
        if (size <= 0) break;
        const double time = now();
        if (size < 20 || uint8_t(bytes[0]) >> 4 != 4) continue;  // neighbours of IPv6 are not asked for here
        if (from == 0) {
          const int to = int(uint8_t(bytes[19])) - 1;  // x.x.x.2 is the first edge
          if (to < 1 || to >= int(tuns.size()) || down.waiting.size() >= kWaiting) {
            strays++;
            continue;
          }
          down.waiting.push_back({time + delay_down, to, std::string(bytes, size_t(size))});
          continue;
        }
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        if (double(random >> 11) * 0x1p-53 < loss) {
          lost++;
        } else if (bottleneck.queued(time) + double(size) > queue || up.waiting.size() >= kWaiting) {
          dropped++;
        } else {
          up.waiting.push_back({bottleneck.send(time, double(size)) + delay_up, 0, std::string(bytes, size_t(size))});
        }
      }
    }
  }
  printf(
      "{\"up_packets\": %llu, \"up_bytes\": %llu, \"down_packets\": %llu, \"down_bytes\": %llu, \"dropped\": %llu, "
      "\"lost\": %llu, \"strays\": %llu}\n",
      (unsigned long long)up.packets, (unsigned long long)up.bytes, (unsigned long long)down.packets,
      (unsigned long long)down.bytes, (unsigned long long)dropped, (unsigned long long)lost,
      (unsigned long long)strays);
  return 0;
}
