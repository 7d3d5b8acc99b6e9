# find_package(dejavm): dejavm::snapshot, states of device models as files, and the golden gate.
include(CMakeFindDependencyMacro)
find_dependency(fmt)
find_dependency(PkgConfig)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
include(${CMAKE_CURRENT_LIST_DIR}/dejavmTargets.cmake)
