#include "replay/filesystem/ext4.h"

#include <sys/stat.h>

#include <charconv>
#include <set>

#include <fmt/format.h>

extern "C" {
#include <ext2fs/ext2fs.h>
}

namespace dejavm {
namespace {

// A partition as libext2fs reads it.
struct Part {
  DiskImage* disk;
  uint64_t offset, len_bytes;
};

// The name that libext2fs opens is the address of a Part.
errcode_t open_part(const char* name, int, io_channel* channel);

errcode_t close_part(io_channel channel) {
  ext2fs_free_mem(&channel->name);
  return ext2fs_free_mem(&channel);
}

errcode_t set_block_size(io_channel channel, int bytes) {
  channel->block_size = bytes;
  return 0;
}

errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void* to) {
  const Part& part = *static_cast<const Part*>(channel->private_data);
  const auto block_bytes = static_cast<uint64_t>(channel->block_size);
  const uint64_t len_bytes =
      count < 0 ? static_cast<uint64_t>(-int64_t{count}) : block_bytes * static_cast<uint64_t>(count);
  if (block > part.len_bytes / block_bytes) return EXT2_ET_SHORT_READ;
  const uint64_t at = block * block_bytes;
  if (len_bytes > part.len_bytes - at) return EXT2_ET_SHORT_READ;
  const bool done = part.disk->read(part.offset + at, {static_cast<uint8_t*>(to), len_bytes});
  return done ? 0 : EXT2_ET_SHORT_READ;
}

errcode_t read_few_blocks(io_channel channel, unsigned long block, int count, void* to) {
  return read_blocks(channel, block, count, to);
}
errcode_t refuse_write(io_channel, unsigned long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t refuse_long_write(io_channel, unsigned long long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t flush(io_channel) { return 0; }

struct_io_manager make_manager() {
  struct_io_manager manager{};
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "dejavm's disk";
  manager.open = open_part;
  manager.close = close_part;
  manager.set_blksize = set_block_size;
  manager.read_blk = read_few_blocks;
  manager.write_blk = refuse_write;
  manager.flush = flush;
  manager.read_blk64 = read_blocks;
  manager.write_blk64 = refuse_long_write;
  return manager;
}
struct_io_manager part_manager = make_manager();

errcode_t open_part(const char* name, int, io_channel* channel) {
  const std::string_view text(name);
  uintptr_t address = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), address, 16).ec != std::errc{})
    return EXT2_ET_BAD_DEVICE_NAME;
  io_channel made = nullptr;
  if (const errcode_t error = ext2fs_get_memzero(sizeof *made, &made); error != 0) return error;
  if (const errcode_t error = ext2fs_get_mem(text.size() + 1, &made->name); error != 0) {
    ext2fs_free_mem(&made);
    return error;
  }
  std::copy_n(name, text.size() + 1, made->name);
  made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  made->manager = &part_manager;
  made->block_size = 1024;
  made->refcount = 1;
  made->private_data = reinterpret_cast<Part*>(address);
  *channel = made;
  return 0;
}

Error bad(std::string_view doing, errcode_t error) {
  return {ErrorKind::kBadInput, fmt::format("the file system: {}: {}", doing, error_message(error))};
}

}  // namespace

struct Ext4::Impl {
  Part part{};
  ext2_filsys fs = nullptr;
  ~Impl() {
    if (fs != nullptr) ext2fs_free(fs);
  }
  Result<FileOnDisk> look(ext2_ino_t inode);
  void add_extents(ext2_ino_t inode, FileOnDisk& file);
};

Result<std::unique_ptr<Ext4>> Ext4::open(DiskImage& disk, const Partition& partition) {
  add_error_table(&et_ext2_error_table);
  auto impl = std::make_unique<Impl>();
  impl->part = {&disk, partition.offset, partition.len_bytes};
  const std::string name = fmt::format("{:x}", reinterpret_cast<uintptr_t>(&impl->part));
  constexpr int kFlags = EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES | EXT2_FLAG_IGNORE_CSUM_ERRORS;
  const errcode_t error = ext2fs_open2(name.c_str(), nullptr, kFlags, 0, 0, &part_manager, &impl->fs);
  if (error != 0) return bad("it is no ext2, ext3 or ext4, or not whole", error);
  return std::unique_ptr<Ext4>(new Ext4(std::move(impl)));
}

Ext4::Ext4(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ext4::~Ext4() = default;

void Ext4::Impl::add_extents(ext2_ino_t inode, FileOnDisk& file) {
  struct Walk {
    FileOnDisk& file;
    uint64_t offset, block_bytes;
  } walk{file, part.offset, fs->blocksize};
  const auto each = [](ext2_filsys, blk64_t* block, e2_blkcnt_t, blk64_t, int, void* to) {
    auto& [extents_of, offset, bytes] = *static_cast<Walk*>(to);
    const uint64_t at = offset + *block * bytes;
    auto& extents = extents_of.extents;
    if (!extents.empty() && extents.back().first + extents.back().second == at) extents.back().second += bytes;
    else extents.push_back({at, bytes});
    return 0;
  };
  ext2fs_block_iterate3(fs, inode, BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, nullptr, each, &walk);
}

Result<FileOnDisk> Ext4::Impl::look(ext2_ino_t inode) {
  ext2_inode found{};
  if (const errcode_t error = ext2fs_read_inode(fs, inode, &found); error != 0)
    return bad(fmt::format("inode {}", inode), error);
  FileOnDisk file{.inode = inode,
                  .generation = found.i_generation,
                  .mode = found.i_mode,
                  .len_bytes = EXT2_I_SIZE(&found),
                  .modified = static_cast<int32_t>(found.i_mtime),
                  .changed = static_cast<int32_t>(found.i_ctime)};
  const bool has_blocks = ext2fs_inode_has_valid_blocks2(fs, &found) != 0;
  if (has_blocks && (S_ISREG(found.i_mode) || S_ISDIR(found.i_mode))) add_extents(inode, file);
  return file;
}

Result<std::map<std::string, FileOnDisk>> Ext4::files() {
  struct Entry {
    std::string name;
    ext2_ino_t inode;
  };
  std::map<std::string, FileOnDisk> out;
  std::set<ext2_ino_t> seen{EXT2_ROOT_INO};
  std::vector<Entry> folders{{"", EXT2_ROOT_INO}};
  while (!folders.empty()) {
    const Entry folder = folders.back();
    folders.pop_back();
    std::vector<Entry> entries;
    const auto each = [](ext2_ino_t, int kind, ext2_dir_entry* entry, int, int, char*, void* to) {
      if (kind != DIRENT_OTHER_FILE || entry->inode == 0) return 0;
      const std::string name(entry->name, static_cast<size_t>(ext2fs_dirent_name_len(entry)));
      if (name != "." && name != "..") static_cast<std::vector<Entry>*>(to)->push_back({name, entry->inode});
      return 0;
    };
    const errcode_t error = ext2fs_dir_iterate2(impl_->fs, folder.inode, 0, nullptr, each, &entries);
    if (error != 0) return bad(fmt::format("the folder {}/", folder.name), error);
    for (const Entry& entry : entries) {
      const std::string path = folder.name + "/" + entry.name;
      auto file = impl_->look(entry.inode);
      if (!file) return file.error();
      const bool is_new_folder = S_ISDIR(file->mode) && seen.insert(entry.inode).second;
      if (is_new_folder) folders.push_back({path, entry.inode});
      if (out.size() >= kMaxFiles) return Error{ErrorKind::kBadInput, "the file system has too many files"};
      out.emplace(path, file.take());
    }
  }
  return out;
}

Result<void> Ext4::read(const std::string& path, const std::function<Result<void>(std::span<const uint8_t>)>& take) {
  ext2_ino_t inode = 0;
  errcode_t error = ext2fs_namei_follow(impl_->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &inode);
  if (error != 0) return bad(path, error);
  auto file = impl_->look(inode);
  if (!file) return file.error();
  if (!S_ISREG(file->mode)) return Error{ErrorKind::kBadInput, fmt::format("{}: is no regular file", path)};
  ext2_file_t open = nullptr;
  error = ext2fs_file_open(impl_->fs, inode, 0, &open);
  if (error != 0) return bad(path, error);
  const std::unique_ptr<ext2_file, errcode_t (*)(ext2_file_t)> closed(open, ext2fs_file_close);
  std::vector<uint8_t> buffer(1 << 20);
  for (uint64_t left = file->len_bytes; left > 0;) {
    unsigned int got = 0;
    error = ext2fs_file_read(open, buffer.data(), static_cast<unsigned>(buffer.size()), &got);
    if (error != 0) return bad(path, error);
    if (got == 0) return {};
    const uint64_t count = std::min<uint64_t>(got, left);  // of data that are in the inode it gives too many
    if (auto done = take(std::span(buffer).first(count)); !done) return done;
    left -= count;
  }
  return {};
}

}  // namespace dejavm
