// CBOR's texts are UTF-8, and nothing else is taken for it (RFC 8949, 3.1; RFC 3629).
#include "replay/store/cbor.h"

#include "devices/catalog.h"
#include "replay/state/describe.h"
#include "replay/state/schema_table.h"

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

// A file's own table of fields tells their units; a field without one has none.
TEST(SchemaTable, TellsUnits) {
  const Schema* const schemas[] = {find_device("vatpit")->schema, find_device("nvme")->schema};
  CborWriter w;
  encode_schemas(w, schemas);
  const auto units = field_units(w.take());
  EXPECT_EQ(units.at("vatpit.now_ns"), "ns");
  EXPECT_EQ(units.at("nvme.length"), "bytes");
  EXPECT_FALSE(units.contains("nvme.command"));
  EXPECT_FALSE(units.contains("nvme.submission.head"));
}

}  // namespace
}  // namespace dejavm
