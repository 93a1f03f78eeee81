"""Which Vulkan devices SAPIEN can use. Stdlib only: `launch/setup.sh` asks before any package is installed."""

from __future__ import annotations

import ctypes
import re
import struct
import sys

_SOFTWARE_MESA = (24, 3)
"""Older versions of Mesa's lavapipe lack what SAPIEN 3 asks a device for."""

# Numbers of the Vulkan 1.2 headers (vulkan_core.h).
_TYPE_APPLICATION_INFO = 0
_TYPE_INSTANCE_CREATE_INFO = 1
_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 = 1000059001
_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES = 1000196000
_DEVICE_TYPE_CPU = 4
_API_VERSION_1_2 = (1 << 22) | (2 << 12)


class NoVulkanDevice(RuntimeError):
    """No Vulkan device that SAPIEN can use. Run ./launch/setup.sh, or install your GPU's driver."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No usable Vulkan device ({reason}): run ./launch/setup.sh, or install your GPU's driver.")


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("sType", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("pApplicationName", ctypes.c_char_p),
        ("applicationVersion", ctypes.c_uint32),
        ("pEngineName", ctypes.c_char_p),
        ("engineVersion", ctypes.c_uint32),
        ("apiVersion", ctypes.c_uint32),
    )


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("sType", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("pApplicationInfo", ctypes.POINTER(_ApplicationInfo)),
        ("enabledLayerCount", ctypes.c_uint32),
        ("ppEnabledLayerNames", ctypes.c_void_p),
        ("enabledExtensionCount", ctypes.c_uint32),
        ("ppEnabledExtensionNames", ctypes.c_void_p),
    )


class _DriverProperties(ctypes.Structure):
    _fields_ = (
        ("sType", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("driverID", ctypes.c_uint32),
        ("driverName", ctypes.c_char * 256),
        ("driverInfo", ctypes.c_char * 256),
        ("conformanceVersion", ctypes.c_uint8 * 4),
    )


class _Properties2(ctypes.Structure):
    _fields_ = (
        ("sType", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("properties", ctypes.c_uint8 * 4096),  # VkPhysicalDeviceProperties: five uint32, deviceName[256], limits
    )


def usable_devices() -> list[str]:
    """Names of the devices that SAPIEN can use. Raises NoVulkanDevice when there is none."""
    try:
        vulkan = ctypes.CDLL("libvulkan.so.1")
    except OSError as error:
        raise NoVulkanDevice("libvulkan.so.1 is not installed") from error
    application = _ApplicationInfo(sType=_TYPE_APPLICATION_INFO, apiVersion=_API_VERSION_1_2)
    create = _InstanceCreateInfo(sType=_TYPE_INSTANCE_CREATE_INFO, pApplicationInfo=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(ctypes.byref(create), None, ctypes.byref(instance)) != 0:
        raise NoVulkanDevice("no Vulkan driver is installed")
    try:
        count = ctypes.c_uint32()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        devices = (ctypes.c_void_p * count.value)()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
        found = [_describe(vulkan, device) for device in devices]
    finally:
        vulkan.vkDestroyInstance(instance, None)
    usable = [name for name, fits in found if fits]
    if not usable:
        raise NoVulkanDevice(", ".join(f"{name} is too old" for name, _ in found) or "the driver lists none")
    return usable


def _describe(vulkan: ctypes.CDLL, device: int | None) -> tuple[str, bool]:
    """Name of a device with its driver, and whether SAPIEN can use it."""
    driver = _DriverProperties(sType=_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES)
    properties = _Properties2(sType=_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, pNext=ctypes.addressof(driver))
    vulkan.vkGetPhysicalDeviceProperties2(ctypes.c_void_p(device), ctypes.byref(properties))
    raw = bytes(properties.properties)
    kind = struct.unpack_from("5I", raw)[4]
    info = driver.driverInfo.decode()
    name = f"{raw[20:276].split(bytes(1))[0].decode()}, {info}"
    if kind != _DEVICE_TYPE_CPU:
        return name, True
    return name, _mesa_version(info) >= _SOFTWARE_MESA


def _mesa_version(driver_info: str) -> tuple[int, int]:
    """Major and minor from e.g. 'Mesa 25.0.7-2 (LLVM 15.0.6)'; (0, 0) for another driver."""
    found = re.search(r"Mesa (\d+)\.(\d+)", driver_info)
    return (int(found[1]), int(found[2])) if found else (0, 0)


if __name__ == "__main__":
    try:
        print("; ".join(usable_devices()))
    except NoVulkanDevice as error:
        sys.exit(str(error))
