// CBOR's texts are UTF-8, and nothing else is taken for it (RFC 8949, 3.1; RFC 3629).
#include "replay/store/cbor.h"

#include <gtest/gtest.h>

#include <string>

namespace dejavm {
namespace {

bool is_text(const std::string& text) {
  CborWriter w;
  w.text("");
  Bytes bytes = w.take();
  bytes[0] = static_cast<uint8_t>(0x60 + text.size());
  bytes.insert(bytes.end(), text.begin(), text.end());
  CborReader r(bytes);
  const std::string_view read = r.text();
  r.end();
  return r.ok() && read == text;
}

TEST(CborText, IsUtf8) {
  for (const char* const good :
       {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "a\xc2\x80z", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_text(good)) << good;
  for (const char* const bad :
       {"\x80", "\xc3", "\xc3(", "\xc1\xbf", "\xe0\x9f\xbf", "\xe2\x82", "\xe2(\xac", "\xe2\x82(", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"})
    EXPECT_FALSE(is_text(bad)) << bad;
}

}  // namespace
}  // namespace dejavm
